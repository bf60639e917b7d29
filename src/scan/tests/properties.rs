//! What holds of [`imports_of`] for any text: it ends, soon, and hides no import.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{imports_of, told};

/// Longer than any linear reading takes, shorter than a quadratic one.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn repeats_of_anything_take_linear_time() {
    for part in [
        "f'''{(",
        "'''",
        "\"\"\"'''",
        "f'",
        "f'{",
        "f'{x:",
        "f'''{x:",
        "{",
        "(\n",
        "([{",
        ")",
        "[\nimport a\n",
        "import a;",
        "import a\n",
        "from a import (\n",
        "if x:",
        "if x:\n",
        "if TYPE_CHECKING:\nimport a\n",
        "\\\n",
        "\\",
        "'\\\n",
        "if (",
        "if not ",
        "if x and (not ",
        "else:\n import a\n",
        "elif x: import a\n",
        "try:import a\nexcept:\n",
        "except: import a\n",
        "lambda ",
        "case ",
        "lazy ",
        "async ",
        "#",
        "\t\n",
        " ",
        "a.",
        "import a.",
        "from .",
        "from . import a,",
        "import",
        "\0",
        "\r",
        "f'{f'{",
        "x = '''{'''\n",
        "f\"{'''\n",
        "import a if(\n",
        "(\nfrom a.",
        "(\nif a.",
        "from x import (a,\nx=\n",
    ] {
        let mut source = part.repeat(500_000 / part.len());
        source.push_str("\nimport end\n");
        let start = Instant::now();
        imports_of(source.as_bytes());
        assert!(
            start.elapsed() < PATIENCE,
            "{part:?}: {:?}",
            start.elapsed()
        );
    }
    // Each line deeper than the one before.
    let mut source = String::new();
    for depth in 0..1000 {
        source.push_str(&format!("{}if TYPE_CHECKING:\n", " ".repeat(depth)));
    }
    source.push_str(&format!("{}import a\n", " ".repeat(1000)));
    assert_eq!(told(&source), ["1001:aT"]);
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "import a",
        "from b import c",
        "import",
        "from",
        "lazy ",
        "if ",
        "else",
        "try",
        "except",
        "def f()",
        "class A",
        "case ",
        "match ",
        "with ",
        "TYPE_CHECKING",
        "lambda",
        "async ",
        ":",
        ":=",
        ";",
        ",",
        ".",
        "*",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "{{",
        "}}",
        "'",
        "\"",
        "'''",
        "\"\"\"",
        "f'",
        "rf\"",
        "t'''",
        "b'",
        "\\",
        "\\\n",
        "\\N{",
        "\n",
        "\n    ",
        "\n\t",
        "\r",
        "\r\n",
        "#",
        " ",
        "\x0c",
        "\0",
        "!r",
        "=",
        "x",
        "\u{e9}",
        "\u{aa}",
        "1",
        "1_",
        "0x",
        "1e",
        "print ",
        "\u{1f600}",
        "\u{a0}",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_fail(source in prop::collection::vec(any::<u8>(), 0..300)) {
        imports_of(&source);
    }

    #[test]
    fn no_text_makes_it_fail(source in pieces()) {
        let start = Instant::now();
        let found = imports_of(source.as_bytes());
        prop_assert!(start.elapsed() < PATIENCE);
        let lines = u32::try_from(source.len()).unwrap_or(u32::MAX) + 1;
        let mut before = 1;
        for statement in &found.statements {
            prop_assert!(before <= statement.line && statement.line <= lines);
            prop_assert!(!statement.names.is_empty());
            before = statement.line;
        }
    }

    #[test]
    fn an_import_on_a_line_of_its_own_is_found_below_any_code(source in pieces()) {
        // Whatever precedes it, as long as no string, comment or continued line can hide it.
        let source = source.replace(['\'', '"', '\\', '#', '\0'], " ");
        let source = format!("{source}\nimport last\n");
        let found = imports_of(source.as_bytes());
        let last = found.statements.last().map(|statement| statement.names.clone());
        prop_assert_eq!(last, Some(vec![("last".to_owned(), None)]));
    }
}
