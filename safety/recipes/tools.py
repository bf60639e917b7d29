"""Parsers, validation, cryptography, and what looks at processes."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

from safety.recipe import recipes_of

recipe = recipes_of("web")


@recipe(
    "cryptography",
    "cryptography>=42,<51",
    modules=("cryptography.fernet", "cryptography.hazmat.primitives.asymmetric.rsa", "cryptography.x509"),
)
def cryptography_work() -> object:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    def sign(_: int) -> int:
        key = rsa.generate_private_key(65537, 2048)
        signature = key.sign(b"text", padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        serialization.load_pem_private_key(pem, None)
        return len(signature)

    with ThreadPoolExecutor(2) as pool:
        lengths = list(pool.map(sign, range(2)))
    box = Fernet(Fernet.generate_key())
    assert box.decrypt(box.encrypt(b"secret")) == b"secret"
    return lengths


@recipe("pydantic", "pydantic>=2.7,<3")
def pydantic_work() -> object:
    from datetime import date

    from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

    class Person(BaseModel):
        name: str
        born: date
        tags: set[str] = set()

        @field_validator("name")
        @classmethod
        def no_blank(cls, value: str) -> str:
            assert value.strip()
            return value

    people = TypeAdapter(list[Person]).validate_json('[{"name": "Ada", "born": "1815-12-10", "tags": ["a"]}]')
    try:
        Person.model_validate({"name": " ", "born": "never"})
    except ValidationError as error:
        mistakes = error.error_count()
    assert Person.model_json_schema()["required"] == ["name", "born"]
    return [people[0].model_dump_json(), mistakes]


@recipe("lxml", "lxml>=5,<7", modules=("lxml.etree", "lxml.html"))
def lxml_work() -> object:
    from lxml import etree, html

    style = etree.XSLT(
        etree.XML("""
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template match="/"><sum><xsl:value-of select="sum(//n)"/></sum></xsl:template></xsl:stylesheet>""")
    )

    def add(count: int) -> str:
        tree = etree.XML("<a>" + "".join(f"<n>{number}</n>" for number in range(count)) + "</a>")
        return str(style(tree).getroot().text)

    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(add, range(5, 9)))
    assert sums == ["10", "15", "21", "28"]
    assert html.fromstring("<p>a<b>c").xpath("//b/text()") == ["c"]
    return sums


@recipe("orjson", "orjson>=3.9,<4")
def orjson_work() -> object:
    import datetime

    import orjson

    value = {"a": [1, 2.5, None, "ü"], "when": datetime.date(2024, 1, 31)}
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    assert orjson.loads(text)["when"] == "2024-01-31"
    return text.decode()


@recipe("psutil", "psutil>=5.9,<8")
def psutil_work() -> object:
    import subprocess
    import sys

    import psutil

    own = psutil.Process()
    assert own.pid == os.getpid() and own.ppid() == os.getppid() and own.num_threads() >= 1
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as program:
        assert program.pid in [child.pid for child in own.children()]
        program.communicate(b"\n")
    assert psutil.virtual_memory().total > 0 and psutil.cpu_count()
    with tempfile.NamedTemporaryFile() as file:
        assert os.path.realpath(file.name) in [os.path.realpath(opened.path) for opened in own.open_files()]
    return own.status() in ("running", "sleeping")


@recipe("jinja2", "jinja2>=3.1,<4")
def jinja2_work() -> object:
    import jinja2

    environment = jinja2.Environment(loader=jinja2.DictLoader({"a": "{% for n in x %}{{ n|string|e }},{% endfor %}"}))
    text = environment.get_template("a").render(x=range(3))
    assert text == "0,1,2,"
    return text
