"""Machine learning: small data, as many threads and processes as the package would use."""

from __future__ import annotations

from typing import Any

from safety.recipe import recipes_of

recipe = recipes_of("data")


def _table() -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(3)
    x = rng.standard_normal((2000, 10))
    return x, (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)


@recipe(
    "scikit-learn",
    "scikit-learn>=1.4,<2",
    modules=("sklearn.cluster", "sklearn.ensemble", "sklearn.linear_model", "sklearn.model_selection"),
)
def sklearn_work() -> object:
    from sklearn.cluster import KMeans
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    x, y = _table()
    forest = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(x, y)
    # OpenMP.
    boosted = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(x, y)
    groups = KMeans(3, n_init=2, random_state=0).fit(x)
    # Processes, by loky.
    scores = cross_val_score(LogisticRegression(), x, y, cv=4, n_jobs=2)
    assert forest.score(x, y) > 0.95 and boosted.score(x, y) > 0.9 and len(scores) == 4
    return [round(float(forest.score(x, y)), 6), len(set(groups.labels_)), round(float(scores.mean()), 6)]


@recipe("xgboost", "xgboost-cpu>=2,<4")
def xgboost_work() -> object:
    import xgboost

    x, y = _table()
    model = xgboost.XGBClassifier(n_estimators=20, n_jobs=2, tree_method="hist").fit(x, y)
    score = float((model.predict(x) == y).mean())
    assert score > 0.9
    return round(score, 6)


@recipe("lightgbm", "lightgbm>=4,<5")
def lightgbm_work() -> object:
    import lightgbm

    x, y = _table()
    model = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=2, verbose=-1)
    model.fit(x, y)
    score = float((model.booster_.predict(x).round() == y).mean())
    assert score > 0.9
    return round(score, 6)


@recipe("tensorflow", "tensorflow-cpu>=2.16,<3", variables={"TF_CPP_MIN_LOG_LEVEL": "3"})
def tensorflow_work() -> object:
    import tensorflow as tf

    x, y = _table()
    x = x.astype("float32")

    @tf.function
    def product(a):  # type: ignore[no-untyped-def]
        return tf.reduce_sum(tf.matmul(a, a, transpose_b=True))

    total = float(product(tf.constant(x[:300])))
    data = tf.data.Dataset.from_tensor_slices((x, y)).map(lambda a, b: (a * 2, b), num_parallel_calls=2).batch(100)
    tf.keras.utils.set_random_seed(4)
    model = tf.keras.Sequential([tf.keras.layers.Dense(16, "relu"), tf.keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(data, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    return round(total, -2)


@recipe("onnxruntime", "onnxruntime>=1.17,<2", "onnx>=1.16,<2")
def onnxruntime_work() -> object:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [200, 200], [0.01] * 40_000)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 200])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 200])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((300, 200), np.float32)})
    assert y.shape == (300, 200) and np.allclose(y, 2.0, atol=1e-3)
    return round(float(y.mean()), 3)


@recipe("ray", "ray>=2.9,<3", variables={"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"})
def ray_work() -> object:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        square = ray.remote(num_cpus=1)(lambda value: value * value)
        found = ray.get([square.remote(value) for value in range(6)], timeout=90)
    finally:
        ray.shutdown()
    assert found == [0, 1, 4, 9, 16, 25]
    return found
