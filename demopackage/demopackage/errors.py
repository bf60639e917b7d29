"""What callers may want to catch. Imports nothing, so that a host can load an error cheaply."""


class OrderNotFoundError(LookupError):
    """No order has this number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"no order has the number {self.number}"
