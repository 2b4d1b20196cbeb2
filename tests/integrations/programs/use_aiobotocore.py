"""S3 by aiobotocore against moto: put, a streamed get, list, an error, several parts."""

from __future__ import annotations

import asyncio

import aiohttp
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}


async def main(endpoint: str) -> None:
    async with get_session().create_client("s3", endpoint_url=endpoint, **KEYS) as s3:
        await s3.create_bucket(Bucket="hold")
        await s3.put_object(Bucket="hold", Key="a.bin", Body=b"cargo" * 100_000)
        answer = await s3.get_object(Bucket="hold", Key="a.bin")
        size = 0
        async with answer["Body"] as stream:
            async for chunk in stream.iter_chunks(1 << 16):
                size += len(chunk)
        answer = await s3.get_object(Bucket="hold", Key="a.bin", Range="bytes=5-9")
        assert await answer["Body"].read() == b"cargo"
        upload = (await s3.create_multipart_upload(Bucket="hold", Key="b.bin"))["UploadId"]
        part = await s3.upload_part(
            Bucket="hold", Key="b.bin", UploadId=upload, PartNumber=1, Body=b"x" * 5_000_000
        )
        parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        await s3.complete_multipart_upload(
            Bucket="hold", Key="b.bin", UploadId=upload, MultipartUpload=parts
        )
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket="hold", PaginationConfig={"PageSize": 1}
        )
        listed = [(item["Key"], item["Size"]) async for page in pages for item in page["Contents"]]
        try:
            await s3.get_object(Bucket="hold", Key="none")
        except ClientError as error:
            code = error.response["Error"]["Code"]
    assert aiohttp.ClientSession.__module__.startswith("wherry.")
    print(size, listed, code)


moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
moto.start()
try:
    host, port = moto.get_host_and_port()
    asyncio.run(main(f"http://{host}:{port}"))
finally:
    moto.stop()
