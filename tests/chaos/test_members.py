"""Who has which partitions, as the brokers describe a group."""

from chaos.members import assignments


def test_a_worker_is_known_by_its_client_id() -> None:
    assigned = {"assigned_partitions": [{"topic": "chaos-sessions", "partitions": [0, 3]}]}
    members = [
        {"client_id": "recommend-1", "member_assignment": assigned},
        {"client_id": "all-1", "member_assignment": None},
    ]
    assert assignments(members, len("chaos-")) == {"recommend-1": {"sessions": (0, 3)}, "all-1": {}}
