"""The notes of a study, which the dashboard shows."""

from nas.results.notes import front_note
from nas.results.records import COMPLETE, History, Record
from nas.space import Architecture


def test_the_front_s_note_names_the_only_modality_of_a_network_that_fuses_nothing():
    alone = {"dim": 8, "encoders": {"text": {"mlp": {}}}, "head": {"linear": {}}, "present": {"text": True}}
    both = {
        "dim": 8,
        "encoders": {"text": {"mlp": {}}, "image": {"cnn": {}}},
        "connector": {"none": {}},
        "fusion": {"concat": {}},
        "head": {"linear": {}},
    }
    records = [
        Record(number, 0, Architecture(data), COMPLETE, 0, told=number, values={"accuracy": 0.5})
        for number, data in enumerate((alone, both))
    ]
    note = front_note(History(records, {"accuracy": "maximize"}))
    assert "| 0 | 0.5 | text alone |" in note
    assert "| 1 | 0.5 | concat |" in note
