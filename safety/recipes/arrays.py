"""Arrays, images and compiled numerics."""

from __future__ import annotations

from safety.recipe import recipes_of

recipe = recipes_of("data")


@recipe("numpy", "numpy>=2,<3")
def numpy_work() -> object:
    import numpy as np

    rng = np.random.default_rng(1)
    # Large enough for OpenBLAS to use its threads.
    a = rng.standard_normal((500, 500))
    x = np.linalg.solve(a, a @ np.ones(500))
    assert np.allclose(x, 1)
    values = np.linalg.svd(a @ a.T, compute_uv=False)
    assert np.allclose(np.fft.ifft(np.fft.fft(a)).real, a)
    return round(float(values[0]), 3)


@recipe(
    "scipy",
    "scipy>=1.11,<2",
    modules=("scipy.fft", "scipy.linalg", "scipy.optimize", "scipy.sparse.linalg", "scipy.spatial", "scipy.stats"),
)
def scipy_work() -> object:
    import numpy as np
    from scipy import fft, linalg, optimize, sparse, spatial, stats
    from scipy.sparse.linalg import spsolve

    rng = np.random.default_rng(2)
    a = rng.standard_normal((300, 300))
    values = linalg.eigh(a + a.T, eigvals_only=True)
    found = optimize.minimize(optimize.rosen, [1.3, 0.7, 0.8, 1.9], method="BFGS")
    assert np.allclose(found.x, 1, atol=1e-3)
    assert np.allclose(fft.ifft2(fft.fft2(a, workers=2), workers=2).real, a)
    points = rng.random((2000, 3))
    distances, _ = spatial.KDTree(points).query(points, k=2, workers=2)
    matrix = sparse.diags([2.0, -1.0, -1.0], [0, 1, -1], shape=(500, 500), format="csc")
    assert np.allclose(matrix @ spsolve(matrix, np.ones(500)), 1)
    assert stats.ttest_ind(points[:, 0], points[:, 1] + 1).pvalue < 0.01
    return [round(float(values[-1]), 4), round(float(distances[:, 1].sum()), 4)]


@recipe("matplotlib.pyplot", "matplotlib>=3.8,<4")
def matplotlib_work() -> object:
    import io

    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    figure, axes = plt.subplots(2, 2)
    axes[0, 0].plot([1, 4, 9])
    axes[0, 1].scatter([1, 2], [2, 1])
    axes[1, 0].hist([1, 2, 2, 3])
    axes[1, 1].text(0.1, 0.5, "$x^2$")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    document = io.BytesIO()
    figure.savefig(document, format="pdf")
    plt.close(figure)
    assert picture.getvalue().startswith(b"\x89PNG") and document.getvalue().startswith(b"%PDF")
    return len(picture.getvalue()) > 5000


@recipe("opencv-python-headless", "opencv-python-headless>=4.9,<6", modules=("cv2",))
def opencv_work() -> object:
    import cv2
    import numpy as np

    picture = (np.indices((800, 800)).sum(0) % 256).astype(np.uint8)
    blurred = cv2.GaussianBlur(picture, (9, 9), 2)
    small = cv2.resize(blurred, (400, 400))
    edges = cv2.Canny(small, 50, 150)
    ok, png = cv2.imencode(".png", edges)
    assert ok and np.array_equal(cv2.imdecode(png, cv2.IMREAD_GRAYSCALE), edges)
    return [int(small.sum()), int(edges.sum())]


@recipe("numba", "numba>=0.60,<1")
def numba_work() -> object:
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def total(values):  # type: ignore[no-untyped-def]
        result = 0.0
        for i in numba.prange(values.size):
            result += values[i] * 2.0
        return result

    @numba.vectorize(["float64(float64)"], target="parallel")
    def cube(value):  # type: ignore[no-untyped-def]
        return value**3

    values = np.arange(100_000, dtype=np.float64)
    assert total(values) == values.sum() * 2 and cube(values)[3] == 27
    return float(total(values))


@recipe("jax", "jax>=0.4.30,<1", modules=("jax", "jax.numpy"), variables={"JAX_PLATFORMS": "cpu"})
def jax_work() -> object:
    import jax
    import jax.numpy as jnp

    @jax.jit
    def loss(weights, x):  # type: ignore[no-untyped-def]
        return jnp.tanh(x @ weights).sum()

    x = jax.random.normal(jax.random.key(0), (200, 200))
    gradient = jax.grad(loss)(jnp.ones((200, 200)) * 0.01, x)
    rows = jax.vmap(lambda row: jnp.sort(row).sum())(x)
    assert gradient.shape == (200, 200) and rows.shape == (200,)
    return round(float(jnp.abs(gradient).sum()), 0)


@recipe("pillow", "pillow>=10,<14", modules=("PIL.Image", "PIL.ImageDraw", "PIL.ImageFilter"))
def pillow_work() -> object:
    import io

    from PIL import Image, ImageDraw, ImageFilter

    picture = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(picture).ellipse((20, 20, 200, 150), fill="red")
    picture = picture.filter(ImageFilter.GaussianBlur(2)).resize((150, 100)).rotate(10)
    sizes = []
    for kind in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        picture.save(file, kind)
        file.seek(0)
        with Image.open(file) as again:
            again.load()
            sizes.append(again.size)
    assert set(sizes) == {(150, 100)}
    return len(
        set(picture.getdata()) if not hasattr(picture, "get_flattened_data") else set(picture.get_flattened_data())
    )
