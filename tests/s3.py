"""A server on loopback that speaks as much of S3 as Arrow asks for; it keeps its objects in memory."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import count
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The parts of a body that comes as chunks, each after its length; the trailers are left out."""
    while size := int(stream.readline().partition(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass


class Handler(BaseHTTPRequestHandler):
    """One connection: `/bucket/key` with GET, HEAD, PUT, POST and DELETE."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            address = urlsplit(self.path)
            self.key = unquote(address.path.removeprefix(f"/{BUCKET}")).removeprefix("/")
            self.query = {name: values[0] for name, values in parse_qs(address.query, True).items()}
        return parsed

    def body(self) -> bytes:
        length = self.headers.get("Content-Length")
        content = b"".join(chunks(self.rfile)) if length is None else self.rfile.read(int(length))
        within = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return b"".join(chunks(BytesIO(content))) if within else content

    def answer(self, status: int, content: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(content), "ETag": '"tag"', **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def xml(self, root: str, content: str) -> None:
        self.answer(200, f"<?xml version='1.0'?><{root}>{content}</{root}>".encode())

    def do_PUT(self) -> None:
        content = self.body()
        if "uploadId" in self.query:
            self.server.parts[self.query["uploadId"]][int(self.query["partNumber"])] = content
        else:
            self.server.objects[self.key] = content
        self.answer(200)

    def do_POST(self) -> None:
        content = self.body().decode()
        if "uploads" in self.query:
            self.xml("InitiateMultipartUploadResult", f"<UploadId>{next(self.server.uploads)}</UploadId>")
        elif "uploadId" in self.query:
            parts = self.server.parts.pop(self.query["uploadId"])
            self.server.objects[self.key] = b"".join(parts[number] for number in sorted(parts))
            self.xml("CompleteMultipartUploadResult", "<ETag>tag</ETag>")
        else:
            for key in re.findall("<Key>(.*?)</Key>", content):
                self.server.objects.pop(key, None)
            self.xml("DeleteResult", "")

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.key, None)
        self.answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.key:
            return self.list() if self.query else self.answer(200)
        content = self.server.objects.get(self.key)
        if content is None:
            return self.answer(404)
        length, modified = len(content), {"Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if self.command == "HEAD":
            return self.answer(200, content, **modified)
        if asked := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or length), length - 1)
            where = f"bytes {first}-{last}/{length}"
            return self.answer(206, content[first : last + 1], Content_Range=where, **modified)
        self.answer(200, content, **modified)

    def list(self) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter")
        files, folders = [], set()
        for key, content in sorted(self.server.objects.items()):
            if key.startswith(prefix):
                head, found, _ = key.removeprefix(prefix).partition(delimiter or "\0")
                if found:
                    folders.add(prefix + head + found)
                else:
                    files.append(
                        f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                    )
        files += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders]
        count = f"<IsTruncated>false</IsTruncated><KeyCount>{len(files)}</KeyCount>"
        self.xml("ListBucketResult", count + "".join(files))

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The objects of one bucket by key, and the parts of those that are being uploaded."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = defaultdict(dict)
        self.uploads = count()

    @property
    def url(self) -> str:
        """The URL of a folder of the bucket."""
        return f"s3://{BUCKET}/nas?scheme=http&endpoint_override=127.0.0.1:{self.server_port}"


@contextmanager
def started_s3() -> Iterator[Server]:
    """A server that runs until it is no longer needed."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
