"""The stacks of third-party packages that are measured: what is installed, and what the project imports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stack:
    """Third-party packages and the modules of them that the measured project imports.

    Attributes:
        name: As the table calls it.
        requirements: What pip installs, each with its version.
        modules: What the project's module imports, in this order.
    """

    name: str
    requirements: tuple[str, ...]
    modules: tuple[str, ...]


EMPTY = Stack("empty", (), ())

DATA = Stack(
    "data",
    ("pandas==3.1.1", "scikit-learn==1.9.1", "matplotlib==3.11.2", "scipy==1.17.1", "numpy==2.4.6"),
    (
        "pandas",
        "matplotlib.pyplot",
        "scipy.cluster.hierarchy",
        "scipy.integrate",
        "scipy.interpolate",
        "scipy.io",
        "scipy.ndimage",
        "scipy.optimize",
        "scipy.signal",
        "scipy.sparse.csgraph",
        "scipy.sparse.linalg",
        "scipy.spatial",
        "scipy.stats",
        "sklearn.cluster",
        "sklearn.compose",
        "sklearn.datasets",
        "sklearn.decomposition",
        "sklearn.ensemble",
        "sklearn.feature_extraction.text",
        "sklearn.feature_selection",
        "sklearn.gaussian_process",
        "sklearn.impute",
        "sklearn.inspection",
        "sklearn.linear_model",
        "sklearn.manifold",
        "sklearn.metrics",
        "sklearn.mixture",
        "sklearn.model_selection",
        "sklearn.naive_bayes",
        "sklearn.neighbors",
        "sklearn.neural_network",
        "sklearn.pipeline",
        "sklearn.preprocessing",
        "sklearn.semi_supervised",
        "sklearn.svm",
        "sklearn.tree",
        "matplotlib.animation",
        "matplotlib.backends.backend_pdf",
        "matplotlib.backends.backend_svg",
        "mpl_toolkits.mplot3d",
    ),
)

WEB = Stack(
    "web",
    ("fastapi==0.165.0", "sqlalchemy==2.1.9", "django==5.2.19", "boto3==1.44.5", "uvicorn==0.54.0"),
    (
        "fastapi",
        "fastapi.middleware.cors",
        "fastapi.responses",
        "fastapi.security",
        "sqlalchemy",
        "sqlalchemy.orm",
        "sqlalchemy.dialects.postgresql",
        "sqlalchemy.dialects.sqlite",
        "django",
        "django.db.models",
        "django.forms",
        "django.http",
        "django.shortcuts",
        "django.urls",
        "boto3",
        "uvicorn",
    ),
)

STACKS = {stack.name: stack for stack in (DATA, WEB, EMPTY)}

TOOLS = (
    "ruff==0.17.5",
    "grimp==3.19",
    "deptry==0.25.1",
    "watchfiles==1.3.0",
    "jurigged==0.6.1",
    "uvicorn==0.54.0",
)
"""What is compared with, other than a stack's own interpreter."""

OLD = "0.5.2"
"""The released firehot that this one is compared with."""

# maturin installs by pip.
RUST = ("pip", "maturin==1.16.0", "rustimport==1.7.1", "maturin-import-hook==0.3.0")
"""The peers for Rust extensions, and what they build with."""
