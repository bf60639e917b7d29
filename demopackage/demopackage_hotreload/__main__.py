"""`python -m demopackage_hotreload`."""

from demopackage_hotreload.main import main

raise SystemExit(main())
