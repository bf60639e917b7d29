"""The audit hook of the template: who is told what, and when it is quiet."""

from __future__ import annotations

import textwrap

from support import Scripts


def test_a_listener_hears_its_events_until_the_end(scripts: Scripts) -> None:
    finished = scripts.run(
        """
        import sys
        from firehot import _audit
        heard = []
        _audit.add(lambda event, arguments: heard.append((event, arguments)), "one", "two")
        for event in ("one", "other", "two"):
            sys.audit(event, 1)
        _audit.stop()
        sys.audit("one", 2)
        print(heard)
        """
    )
    assert finished.ok() == "[('one', (1,)), ('two', (1,))]\n"


def test_a_listener_neither_stops_nor_hears_itself(scripts: Scripts) -> None:
    finished = scripts.run(
        """
        import sys
        from firehot import _audit
        heard = []
        def listen(event, arguments):
            heard.append(event)
            sys.audit("one")
            raise ValueError
        _audit.add(listen, "one")
        sys.audit("one")
        print(heard)
        """
    )
    assert finished.ok() == "['one']\n"


def test_the_running_module_is_the_innermost(scripts: Scripts) -> None:
    text = """
    import sys
    from firehot import _audit
    def tell():
        return _audit.running_module()
    here = tell()
    import inner
    again = (lambda: tell())()
    """
    scripts.save(textwrap.dedent(text), "outer.py")
    scripts.save("import outer\nhere = outer.tell()\n", "inner.py")
    finished = scripts.run("import outer, inner\nprint(outer.here, inner.here, outer.again, outer.tell())\n")
    assert finished.ok() == "outer inner outer None\n"
