from agent.ocpp_client.v201.status_info import status_info


def test_texts_are_cut_to_the_lengths_of_the_schema() -> None:
    assert status_info("R" * 30, "x" * 600) == {"reasonCode": "R" * 20, "additionalInfo": "x" * 512}


def test_no_sentence_no_field() -> None:
    assert status_info("TxNotFound") == {"reasonCode": "TxNotFound"}
