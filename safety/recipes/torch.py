"""PyTorch, where an interpreter can import it."""

from __future__ import annotations

from safety.recipe import recipes_of

recipe = recipes_of("torch")


@recipe("torch", modules=("torch", "torch.nn", "torch.utils.data"))
def torch_work() -> object:
    import torch

    torch.manual_seed(5)
    x = torch.randn(2000, 20)
    y = (x[:, :1] > 0).float()
    a = torch.randn(600, 600)
    assert torch.linalg.matrix_norm(a @ a.T) > 0 and torch.get_num_threads() >= 1
    # Large enough for OpenMP to be asked.
    assert abs(float(torch.ones(2_000_000).sin().mean()) - 0.8415) < 0.001
    model = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    loss = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = torch.utils.data.TensorDataset(x, y)
    first = last = 0.0
    # Workers are processes that the loader forks, from a child with threads by now.
    for _ in range(3):
        for part, wanted in torch.utils.data.DataLoader(data, 200, num_workers=2):
            optimizer.zero_grad()
            value = loss(model(part), wanted)
            value.backward()
            optimizer.step()
            last = float(value)
            first = first or last
    assert last < first
    return [round(float(a.sum()), 2), round(last, 4)]
