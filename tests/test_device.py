"""What selecting an Ascend card sets, by a framework that only writes down what it is told."""

import os
from types import SimpleNamespace

import mindspore as ms
import mindspore._c_expression as core
import pytest

from tinybert import device
from tinybert.errors import DeviceError


@pytest.fixture
def told(monkeypatch):
    """Return what the framework is told, in order, with the environment of that moment."""
    calls = []

    def note(name):
        def call(*arguments):
            switches = {key: os.environ.get(key) for key in device.ASCEND_SWITCHES}
            calls.append((name, arguments, switches))

        return call

    for name in device.ASCEND_SWITCHES:
        monkeypatch.setenv(name, "other")
    monkeypatch.setattr(device, "require_ascend", lambda device_id: None)
    monkeypatch.setattr(ms, "set_device", note("set_device"))
    monkeypatch.setattr(ms, "set_deterministic", note("set_deterministic"))
    return calls


def test_switches_are_set_before_the_card_is_and_recorded(told):
    settings = device.select("Ascend", 3, 1)
    assert told == [
        ("set_device", ("Ascend", 3), device.ASCEND_SWITCHES),
        ("set_deterministic", (True,), device.ASCEND_SWITCHES),
    ]
    assert settings["MS_ASCEND_CHECK_OVERFLOW_MODE"] == "INFNAN_MODE"
    assert settings["HCCL_DETERMINISTIC"] == "true"
    assert settings["set_deterministic"] is True


def test_a_simulation_needs_cann_alone_and_is_recorded(told, monkeypatch, tmp_path):
    monkeypatch.delenv(device.ASCEND_INSTALLATION, raising=False)
    assert any("/dev/davinci" in problem for problem in device.ascend_problems())
    monkeypatch.setenv("MS_SIMULATION_LEVEL", "1")
    (problem,) = device.ascend_problems()
    assert problem.startswith("no CANN: ASCEND_HOME_PATH is not set")
    monkeypatch.setenv(device.ASCEND_INSTALLATION, str(tmp_path))
    assert device.ascend_problems() == []
    assert device.select("Ascend", 0, 1)["MS_SIMULATION_LEVEL"] == "1"


def test_variables_of_other_launchers_are_removed_by_name(monkeypatch):
    foreign = (
        "MS_ROLE",
        "MS_NODE_ID",
        "RANK_ID",
        "RANK_TABLE_FILE",
        "OMP_DYNAMIC",
        "DEVICE_ID",
    )
    own = (
        "MS_SIMULATION_LEVEL",
        "OMP_NUM_THREADS",
        "GLOG_v",
        "HCCL_IF_IP",
        "DEVICE_IDS",
        "MY_RANK_ID",
    )
    for name in (*foreign, *own):
        monkeypatch.setenv(name, "1")
    assert set(device.remove_foreign_variables()) >= set(foreign)
    assert not any(name in os.environ for name in foreign)
    assert all(os.environ[name] == "1" for name in own)
    assert device.remove_foreign_variables() == []


def card(monkeypatch, name):
    context = SimpleNamespace(get_ascend_soc_version=lambda: name)
    monkeypatch.setattr(core, "MSContext", SimpleNamespace(get_instance=lambda: context))


def test_a_card_that_hides_overflows_is_refused(monkeypatch):
    card(monkeypatch, "ascend910")
    with pytest.raises(DeviceError, match="the loss scale would not notice") as caught:
        device.require_infinities()
    assert caught.value.cure == "train in float32, or on a card of the Atlas A2 series or later"


@pytest.mark.parametrize("name", ["ascend910b", "ascend910_93"])
def test_a_card_that_shows_them_is_not(monkeypatch, name):
    card(monkeypatch, name)
    device.require_infinities()
