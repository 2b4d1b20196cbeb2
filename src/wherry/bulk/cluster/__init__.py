"""One bulk job on many machines: hosts are parted by hash, and one worker owns each part.

From below: `partitions` says whose a URL is, `shared_folder` is where all nodes can read and write,
`parted_inputs` parts the lists, `manifests` says what is done, `placement` which node has which
partition, `lease` how long a worker may go on unheard.  `task_runner` is what runs on a node,
`split_and_fetch_tasks` what it is given to do, `driver` what runs where the program is, `engine`
what both ask of Ray or Dask (`wherry.bulk.ray`, `wherry.bulk.dask`).
"""
