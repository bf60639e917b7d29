//! Tables of [`imports_of`]: what a text says, whatever its state.

#![forbid(unsafe_code)]

mod properties;

use super::*;

/// `line:module` or `line:module:name,name` of each statement, with an upper-case letter for each thing that its
/// blocks tell: Nested, Guarded, Conditional, Type checking.
fn told(source: &str) -> Vec<String> {
    imports_of(source.as_bytes())
        .statements
        .iter()
        .map(|statement| {
            let alias = |(name, alias): &(String, Option<String>)| match alias {
                Some(alias) => format!("{name} as {alias}"),
                None => name.clone(),
            };
            let names: Vec<_> = statement.names.iter().map(alias).collect();
            let dots = ".".repeat(statement.level as usize);
            let module = statement.module.as_deref().unwrap_or_default();
            let what = match statement.kind {
                StatementKind::Import => names.join(","),
                StatementKind::From => format!("{dots}{module}:{}", names.join(",")),
            };
            let marks: String = [
                (statement.context.nested, 'N'),
                (statement.context.guarded, 'G'),
                (statement.context.conditional, 'C'),
                (statement.type_checking, 'T'),
            ]
            .iter()
            .filter_map(|&(holds, letter)| holds.then_some(letter))
            .collect();
            format!("{}:{what}{marks}", statement.line)
        })
        .collect()
}

#[track_caller]
fn whole(source: &str, expected: &[&str]) {
    assert_eq!(told(source), expected, "{source:?}");
    assert_eq!(imports_of(source.as_bytes()).broken, None, "{source:?}");
}

#[track_caller]
fn damaged(source: &str, line: u32, expected: &[&str]) {
    assert_eq!(told(source), expected, "{source:?}");
    let broken = imports_of(source.as_bytes()).broken;
    assert_eq!(broken.map(|broken| broken.line), Some(line), "{source:?}");
}

#[test]
fn statements_are_read_with_their_lines_and_names() {
    for (source, expected) in [
        ("import a", &["1:a"][..]),
        ("\n\nimport a.b as c, d\n", &["3:a.b as c,d"]),
        ("from a import b as c, d", &["1:a:b as c,d"]),
        (
            "from . import a\nfrom ...b.c import d\nfrom .... import e",
            &["1:.:a", "2:...b.c:d", "3:....:e"],
        ),
        (
            "from a import (b, # one (\n  c,\n)\nimport d",
            &["1:a:b,c", "4:d"],
        ),
        ("from a \\\n  import \\\n b\nimport c", &["1:a:b", "4:c"]),
        ("from a import *", &["1:a:*"]),
        ("import a; x = 1; import b # import c", &["1:a", "1:b"]),
        ("import\ta\x0c,b", &["1:a,b"]),
        ("import a\r\nimport b\rimport c", &["1:a", "2:b", "3:c"]),
        ("import a\\\n", &["1:a"]),
        (
            "lazy import a\nlazy from b import c\nlazy = 1\nlazy\n",
            &["1:a", "2:b:c"],
        ),
        ("lazy\\\n import a", &["1:a"]),
        (
            "import match, case, type, lazy\nfrom type import match",
            &["1:match,case,type,lazy", "2:type:match"],
        ),
        ("import \u{aa}, \u{fb01}x", &["1:a,fix"]),
        ("importlib = 1\nimport_a = 2\nfromage = from_ = 3\n", &[]),
    ] {
        whole(source, expected);
    }
}

#[test]
fn text_is_not_code() {
    for (source, expected) in [
        ("'''\nimport a\n'''\nimport b", &["4:b"][..]),
        ("x = 'import a'; import b", &["1:b"]),
        ("x = 'it\\'s'; import b", &["1:b"]),
        ("x = 'a\\\nimport b'\nimport c", &["3:c"]),
        ("x = r'\\'; import a'; import b", &["1:b"]),
        ("x = '''a\\''' import''' ; import b", &["1:b"]),
        ("x = ''; y = \"\"; import b", &["1:b"]),
        ("x = ''''import a'''; import b", &["1:b"]),
        ("# import a\nx = 1 # '''\nimport b", &["3:b"]),
        ("x = (1, # )\nimporta)\nimport b", &["3:b"]),
        ("x = 1 + \\\n  2; import b", &["2:b"]),
        ("x = bR'''\nimport a\n'''; import b", &["3:b"]),
        ("x = [{(1)}]; import b", &["1:b"]),
        ("x = a[1:2]; y: int = 3; import b", &["1:b"]),
    ] {
        whole(source, expected);
    }
}

#[test]
fn strings_that_hold_code_are_read_as_python_reads_them() {
    for literal in [
        "f'{x}'",
        "f'{{import'",
        "f'}}'",
        "f'{x['a']}'",
        "f\"{x[\"a\"]}\"",
        "f'{f'{f'{1}'}'}'",
        "f'{'\\n'.join(a)}'",
        "f'{x:{y}}'",
        "f'{x:{y}.{z}}'",
        "f'{x!r:>{w}}'",
        "f'{x:%H:%M}'",
        "f'{x:=10}'",
        "f'{(x:=10)}'",
        "f'{x != y}'",
        "f'{x:{{1}.pop()}}'",
        "f'{ {1: 2}[1] }'",
        "f'{(lambda: 1)()}'",
        "f'\\N{BULLET}{x}'",
        "f'\\N{LATIN SMALL LETTER A}'",
        "rf'\\N{x}'",
        "fR'\\{x}'",
        "f'\\{x}'",
        "f'{x}\\''",
        "rf'\\'{x}'",
        "f'''{\nx\n}'''",
        "f'''{x:\n}'''",
        "f'{x # }\n}'",
        "f'{\nx\n}'",
        "f'''{'''import a'''}'''",
        "f'''{f'{1}'}'''",
        "f'''it's {x['''a''']} \"quoted\"'''",
        "t'{x:{y}}'",
        "Tr'''{x}\n{{'''",
        "rT'{'a'}'",
        "f'' f''",
        "f'{x=}'",
        "f'{x=!r:^20}'",
        "f'{a['b'][{1: '}'}[1]]}'",
    ] {
        let source = format!("x = {literal}; import b\nimport c\n");
        let line = 1 + literal.matches('\n').count();
        whole(&source, &[&format!("{line}:b"), &format!("{}:c", line + 1)]);
    }
}

#[test]
fn blocks_on_one_line_are_entered() {
    for (source, expected) in [
        (
            "if x: import a; import b\nelse: import c",
            &["1:a", "1:b", "2:c"][..],
        ),
        (
            "try: import a\nexcept ImportError: import b\nelse: import c\nfinally: import d",
            &["1:aG", "2:bG", "3:c", "4:d"],
        ),
        ("class A: import a\nimport b", &["1:a", "2:b"]),
        ("class A[T: int = str](B): import a", &["1:a"]),
        (
            "def f(x: int, y=lambda: 0) -> {1: 2}: import a\nimport b",
            &["1:aN", "2:b"],
        ),
        ("def f[T: (int, str)](): import a", &["1:aN"]),
        ("async def f(): import a", &["1:aN"]),
        ("if lambda: x: import a", &["1:a"]),
        ("if lambda x=lambda: y: z: import a", &["1:a"]),
        ("while x := 1: import a", &["1:a"]),
        ("for x in y[1:2]: import a", &["1:a"]),
        ("with a as b, c: import d", &["1:d"]),
        (
            "match x:\n case {1: y} if z[1:]: import a\n case _: import b",
            &["2:a", "3:b"],
        ),
        (
            "case; import x\nmatch: int; import y\ncase[1]: int = 2; import z",
            &["1:x", "2:y", "3:z"],
        ),
        (
            "match = case = 1; import x\nmatch(x); import y\nmatch.a; import z",
            &["1:x", "2:y", "3:z"],
        ),
        (
            "type X = int; import a\ntype X[T = int] = T\nimport b",
            &["1:a", "3:b"],
        ),
    ] {
        whole(source, expected);
    }
}

#[test]
fn type_checking_blocks_are_told_apart() {
    for (test, body, other) in [
        ("TYPE_CHECKING", "T", ""),
        ("typing.TYPE_CHECKING", "T", ""),
        ("t.TYPE_CHECKING", "T", ""),
        ("(TYPE_CHECKING)", "T", ""),
        ("(\n  TYPE_CHECKING # why\n)", "T", ""),
        ("TYPE_CHECKING and x", "T", ""),
        ("f'{x['a']}' and TYPE_CHECKING", "T", ""),
        ("x(a, b=1) and TYPE_CHECKING", "T", ""),
        ("TYPE_CHECKING or x", "", ""),
        ("TYPE_CHECKING or typing.TYPE_CHECKING", "T", ""),
        ("not TYPE_CHECKING", "", "T"),
        ("not (TYPE_CHECKING)", "", "T"),
        ("not not TYPE_CHECKING", "T", ""),
        ("not TYPE_CHECKING and x", "", ""),
        ("not TYPE_CHECKING or x", "", "T"),
        ("not (TYPE_CHECKING and x)", "T", ""),
        ("not (TYPE_CHECKING or x)", "", ""),
        ("x if TYPE_CHECKING else y", "", ""),
        ("lambda: TYPE_CHECKING", "", ""),
        ("'TYPE_CHECKING'", "", ""),
        ("MY_TYPE_CHECKING", "", ""),
        ("f(TYPE_CHECKING)", "", ""),
        ("TYPE_CHECKING == x", "", ""),
        ("x not in TYPE_CHECKING", "", ""),
    ] {
        // The one row where De Morgan makes the other branch the certain one.
        let (body, other) = if test == "not (TYPE_CHECKING and x)" {
            ("", "T")
        } else {
            (body, other)
        };
        let source = format!("if {test}:\n    import a\nelse:\n    import b\nimport c");
        let at = test.matches('\n').count();
        let expected = [
            format!("{}:a{body}", at + 2),
            format!("{}:b{other}", at + 4),
            format!("{}:c", at + 5),
        ];
        assert_eq!(told(&source), expected, "{source}");
    }
}

#[test]
fn clauses_add_up_along_their_chain() {
    for (source, expected) in [
        ("if x:\n import a\nelif TYPE_CHECKING:\n import b\nelse:\n import c", &["2:a", "4:bT", "6:c"][..]),
        ("if not TYPE_CHECKING:\n import a\nelif x:\n import b\nelse:\n import c", &["2:a", "4:bT", "6:cT"]),
        ("if not TYPE_CHECKING: import a\nelse: import b\nimport c", &["1:a", "2:bT", "3:c"]),
        ("if TYPE_CHECKING:\n if x:\n  import a\n else:\n  import b\n def f(): import c", &["3:aT", "5:bT", "6:cNT"]),
        ("if not TYPE_CHECKING:\n pass\nfor x in y:\n pass\nelse:\n import a", &["6:a"]),
        ("if not TYPE_CHECKING:\n pass\nx = 1\nif y:\n pass\nelse:\n import a", &["7:a"]),
        ("if x:\n if not TYPE_CHECKING:\n  pass\nelse:\n import a", &["5:a"]),
        ("if sys.platform == 'x':\n import a\nelif y:\n import b\nelse:\n import c\nimport d", &["2:aC", "4:bC", "6:cC", "7:d"]),
        ("if sys.version_info >= (3, 8): import a\nif os.name == 'nt': import b\nif platform.system() == 'x': import c", &["1:aC", "2:bC", "3:cC"]),
        ("if sys.platform.startswith('x'): import a\nif x.platform: import b", &["1:aC", "2:b"]),
        ("if __name__ == '__main__':\n import a\nelse:\n import b", &["2:aN", "4:b"]),
        ("if '__main__' != __name__:\n import a\nelse:\n import b", &["2:a", "4:bN"]),
        ("match sys.platform:\n case 'x':\n  import a", &["3:aC"]),
        ("class A:\n import a\n def f(self):\n  class B:\n   import b", &["2:a", "5:bN"]),
    ] {
        whole(source, expected);
    }
}

#[test]
fn handlers_guard_what_they_catch() {
    for (handler, body, inside) in [
        ("except ImportError", "G", "G"),
        ("except ModuleNotFoundError as e", "G", "G"),
        ("except Exception", "G", "G"),
        ("except (OSError, ImportError)", "G", "G"),
        ("except OSError, ImportError", "G", "G"),
        ("except* builtins.ImportError", "G", "G"),
        ("except", "G", "G"),
        ("except OSError", "", ""),
        ("except OSError as ImportErrors", "", ""),
        ("finally", "", ""),
    ] {
        let source = format!("try:\n import a\n{handler}:\n import b\nimport c");
        let expected = [
            format!("2:a{body}"),
            format!("4:b{inside}"),
            "5:c".to_owned(),
        ];
        assert_eq!(told(&source), expected, "{source}");
    }
    whole(
        "try:\n import a\nexcept OSError:\n import b\nexcept ImportError:\n import c\nelse:\n import d\n",
        &["2:aG", "4:b", "6:cG", "8:d"],
    );
    whole(
        "with contextlib.suppress(ImportError):\n import a",
        &["2:aG"],
    );
    whole("with suppress(OSError):\n import a", &["2:a"]);
    whole("try:\n with x:\n  import a\n try:\n  import b\n finally:\n  pass\nexcept ImportError: pass", &["3:aG", "5:bG"]);
}

#[test]
fn indentation_is_counted_as_python_counts_it() {
    for (source, expected) in [
        ("def f():\n\timport a\nimport b", &["2:aN", "3:b"][..]),
        (
            "def f():\n        if x:\n\t\timport a\n\timport b\n\nimport c",
            &["3:aN", "4:bN", "6:c"],
        ),
        ("def f():\n    pass\n\n# no code\n    import a\n", &["5:aN"]),
        ("def f():\n    pass\n\x0cimport a\n", &["3:a"]),
        ("def f(): # '\n    import a\n", &["2:aN"]),
        ("def f(): \\\n\n    import a\n", &["3:aN"]),
        ("def f():\n    x = (1,\n2)\n    import a\n", &["4:aN"]),
        ("def f():\n  \\\nimport a\nimport b\n", &["3:aN", "4:b"]),
        ("def f():\n    '''\nx\n'''\n    import a", &["5:aN"]),
    ] {
        whole(source, expected);
    }
}

#[test]
fn the_imports_of_a_file_in_the_middle_of_an_edit_are_found() {
    for (source, line, expected) in [
        ("import a\nx = (1,\nimport b\n", 2, &["1:a", "3:b"][..]),
        ("x = (1,\n    from b import c\n", 1, &["2:b:c"]),
        ("def f(:\n    import a\nimport b", 1, &["2:aN", "3:b"]),
        (
            "x = [\ndef f():\n    import a\nimport b",
            1,
            &["3:aN", "4:b"],
        ),
        ("x = f'{(\nimport b\n", 1, &["2:b"]),
        ("x = f'{y\nimport b\n", 1, &["2:b"]),
        ("x = 'a\nimport b", 1, &["2:b"]),
        ("x = g('a\nif TYPE_CHECKING:\n    import b", 1, &["3:bT"]),
        (
            "x = g(\nif TYPE_CHECKING:\n    import b\nimport c",
            1,
            &["3:bT", "4:c"],
        ),
        ("x = )\nimport b\n", 1, &["2:b"]),
        ("x = (]\nimport b\n", 1, &["2:b"]),
        ("import\nimport b\n", 1, &["2:b"]),
        (
            "import a\nfrom x import\nfrom y\nimport b",
            2,
            &["1:a", "4:b"],
        ),
        ("from a import (b, c\nimport d", 1, &["1:a:b,c", "2:d"]),
        (
            "from a import (b,\n  c\nx = 1\nimport d",
            1,
            &["1:a:b,c", "4:d"],
        ),
        ("from a import (b,", 1, &["1:a:b"]),
        ("import a b\nimport c", 1, &["2:c"]),
        ("import 'a'\nimport c", 1, &["2:c"]),
        ("from x import a + b\nimport c", 1, &["2:c"]),
    ] {
        damaged(source, line, expected);
    }
    whole("import a\\", &["1:a"]);
    // No colon yet, but what is indented below it belongs to it.
    whole("if TYPE_CHECKING\n    import a\nimport b", &["2:aT", "3:b"]);
}

#[test]
fn valid_lines_inside_brackets_end_nothing() {
    for inside in [
        "for x in y\nif x\n",
        "a\nif b else\nc",
        "yield\nfrom x",
        "lambda:\n0",
        "x\nor\nnot y\nis None",
        "[x\nasync\nfor x in y]",
        "{a\nif b else c:\n1}",
        "from_\n",
        "classes,\nimports,\ndefault",
        "await\nx",
    ] {
        let source = format!("x = (\n{inside}\n)\nimport a");
        let line = source.matches('\n').count() + 1;
        whole(&source, &[&format!("{line}:a")]);
    }
}

#[test]
fn an_open_triple_quote_makes_a_file_untrusted() {
    for source in [
        "import a\nx = '''\nimport b\n",
        "import a\nx = \"\"\"\nimport b\n",
        "import a\nx = f'''{\nimport b\n'''",
        "import a\nx = f'''{x:\nimport b\n",
        "import a\nx = (r'''\nimport b\n",
        "import a\nx = f'''{(\n'''{\nimport b\n",
        "import a\nx = '''\n",
    ] {
        let found = imports_of(source.as_bytes());
        let broken = found.broken.unwrap();
        assert!(!broken.trusted, "{source}");
        assert_eq!(found.statements[0].names[0].0, "a");
    }
    assert_eq!(told("import a\nx = '''\nimport b\n"), ["1:a", "3:b"]);
    let trusted = imports_of(b"x = '\nimport b").broken;
    assert!(trusted.is_some_and(|broken| broken.trusted));
}

#[test]
fn the_source_line_is_told_and_kept_short() {
    let found = imports_of(b"if x:\n    import a # why\n");
    assert_eq!(found.statements[0].text, "import a # why");
    let long = format!("{};import a;{}", "x".repeat(5000), "\u{e9}".repeat(5000));
    let found = imports_of(long.as_bytes());
    assert!(found.statements[0].text.starts_with("import a;"));
    assert!(found.statements[0].text.len() < 400);
}
