"""One bulk job on many machines: hosts are parted by hash, and one worker owns each part.

From below: `partitions` says whose a URL is, `places` is where all nodes can read and write,
`inputs` parts the lists, `manifests` says what is done, `placement` which node has which partition,
`lease` how long a worker may go on unheard.  `worker` is what runs on a node, `driver` what runs
where the program is, `engine` what both ask of Ray or Dask (`wherry.bulk.ray`, `wherry.bulk.dask`).
"""
