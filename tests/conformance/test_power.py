"""What every Power must do with its machine."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from lab_power import PASSWORD, USER
from powers import POWERS, SHORT, UNPRIVILEGED, WRONG, Powered

from behunt.errors import HostError
from behunt.netboot.power.protocol import Power, State

NEVER = 1 << 30
# ipmi_sim and the Redfish emulator keep what; how often is the emulator's own constant.
ONCE = {"pxe", "Pxe Continuous"}


def these(names: Iterable[str]) -> pytest.MarkDecorator:
    """Methods that a test is for."""
    rows = [
        pytest.param(name, marks=() if name in UNPRIVILEGED else pytest.mark.real)
        for name in sorted(names)
    ]
    return pytest.mark.parametrize("counterpart", rows, indirect=True, scope="module")


every = these(POWERS)
switching_off = these(POWERS.keys() - {"wol"})
telling = these(POWERS.keys() - {"wol", "hand"})
bmcs = these({"ipmi", "redfish"})


@pytest.fixture(scope="module")
def counterpart(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Powered]:
    with POWERS[request.param](tmp_path_factory.mktemp(request.param)) as powered:
        yield powered


@pytest.fixture
def powered(counterpart: Powered) -> Powered:
    """Off, and never switched."""
    counterpart.switch.reset()
    return counterpart


@every
def test_it_switches_on_and_off(powered: Powered) -> None:
    powered.power.on()
    assert powered.switch.follows(on=True)
    if powered.switches_off:
        powered.power.off()
        assert powered.switch.follows(on=False)


@every
def test_on_is_not_switched_again(powered: Powered) -> None:
    powered.power.on()
    powered.power.on()
    assert powered.switch.follows(on=True)
    assert powered.switch.starts == 1


@switching_off
def test_off_may_be_said_again(powered: Powered) -> None:
    powered.power.off()
    powered.power.off()
    assert powered.switch.follows(on=False)


@switching_off
def test_a_cycle_starts_it_anew(powered: Powered) -> None:
    powered.power.cycle()
    powered.power.cycle()
    assert powered.switch.follows(on=True)
    assert powered.switch.starts == 2


@these({"wol"})
def test_what_cannot_switch_off_says_so(powered: Powered) -> None:
    powered.power.on()
    assert powered.switch.follows(on=True)
    for ask in (powered.power.off, powered.power.cycle):
        with pytest.raises(HostError, match="cannot switch") as refused:
            ask()
        assert "lab.toml" in refused.value.hint
    assert powered.switch.is_on


@every
def test_the_state_is_that_of_the_machine(powered: Powered) -> None:
    def state(told: State) -> bool:
        return powered.power.state() is (told if powered.tells else State.UNKNOWN)

    assert state(State.OFF)
    powered.power.on()
    assert state(State.ON)
    powered.switch.off()  # the machine's own doing
    assert state(State.OFF)


@telling
def test_a_slow_machine_is_waited_for(powered: Powered) -> None:
    powered.switch.lag = 2  # questions
    powered.power.on()
    assert powered.switch.is_on
    powered.power.off()
    assert not powered.switch.is_on
    powered.power.cycle()
    assert powered.switch.is_on


@telling
def test_a_machine_that_does_not_follow_is_given_up(powered: Powered) -> None:
    powered.switch.lag = NEVER
    with pytest.raises(HostError, match=r"switched on, and is off after 0\.5 s") as lost:
        impatient(powered.power).on()
    assert "deadline" in lost.value.hint
    powered.switch.reset()
    powered.power.on()
    powered.switch.lag = NEVER
    for ask in (impatient(powered.power).off, impatient(powered.power).cycle):
        with pytest.raises(HostError, match=r"switched off, and is on after 0\.5 s"):
            ask()


@bmcs
def test_it_boots_from_the_network_once(powered: Powered) -> None:
    powered.power.on()
    assert powered.boots() in ONCE


@these(POWERS.keys() - {"hand"})
def test_where_nobody_answers_is_said(powered: Powered) -> None:
    with pytest.raises(HostError) as lost:
        powered.deaf.on()
    assert powered.where in lost.value.message
    assert lost.value.hint


@bmcs
def test_a_wrong_password_is_said_and_none_is_shown(
    powered: Powered, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for ask in (powered.refused.on, powered.refused.off, powered.refused.state):
            with pytest.raises(HostError, match="does not let the user") as refused:
                ask()
            assert USER in refused.value.message
            assert "password in" in refused.value.hint
            assert WRONG not in refused.value.message + refused.value.hint
        powered.power.on()
    assert powered.switch.starts == 1
    for shown in (caplog.text, repr(powered.power), repr(powered.refused)):
        assert WRONG not in shown
        assert PASSWORD not in shown


def impatient(power: Power) -> Power:
    return replace(power, deadline=SHORT)  # type: ignore[type-var]
