"""Settings come from file, environment and flags, and every mistake is named where it stands."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from infra.settings import Settings, SettingsError, find_file, load_settings, variable_of


def write(directory: Path, text: str) -> Path:
    path = directory / "flowrate.toml"
    path.write_text(text)
    return path


def problems_of(
    file: Path | None = None,
    flags: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load_settings(file, flags, environment or {})
    return raised.value.problems


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings(environment={})
    assert settings == dataclasses.replace(Settings(), data_dir=Path("flowrate-data").resolve())


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    file = write(tmp_path, "[api]\nlisten_port = 1\npage_size_max = 11\nseries_points_max = 21\n")
    settings = load_settings(
        file,
        ["api.listen_port=3"],
        {"FLOWRATE_API__LISTEN_PORT": "2", "FLOWRATE_API__PAGE_SIZE_MAX": "12"},
    )
    assert settings.api.listen_port == 3
    assert settings.api.page_size_max == 12
    assert settings.api.series_points_max == 21
    assert settings.api.live_samples_max == Settings().api.live_samples_max


def test_the_last_of_two_flags_counts() -> None:
    settings = load_settings(None, ["api.listen_port=1", "api.listen_port=2"], {})
    assert settings.api.listen_port == 2


def test_list_of_tables(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [[collectors.radius.clients]]
        nas_id = "tower-1"
        address = "192.0.2.1"
        secret = "s"
        coa_port = 1700

        [[collectors.radius.clients]]
        nas_id = "tower-2"
        address = "2001:db8::/48"
        secret = "t"
        """,
    )
    one, two = load_settings(file, environment={}).collectors.radius.clients
    assert (one.nas_id, one.secret, one.coa_port) == ("tower-1", "s", 1700)
    assert (two.address, two.coa_port) == ("2001:db8::/48", 3799)


def test_list_of_tables_in_a_flag() -> None:
    flag = 'collectors.radius.clients=[{nas_id = "a", address = "192.0.2.1", secret = "x"}]'
    (client,) = load_settings(None, [flag], {}).collectors.radius.clients
    assert (client.nas_id, client.secret) == ("a", "x")


@pytest.mark.parametrize("text", ['["a:1", "b:2"]', "a:1, b:2"])
def test_list_in_a_variable(text: str) -> None:
    environment = {"FLOWRATE_COLLECTORS__RADIUS__LISTEN": text}
    assert load_settings(None, (), environment).collectors.radius.listen == ("a:1", "b:2")


def test_text_in_a_variable_is_literal() -> None:
    environment = {"FLOWRATE_API__LISTEN_ADDRESS": "10"}
    assert load_settings(None, (), environment).api.listen_address == "10"


def test_relative_data_dir_counts_from_the_file_and_a_flag_from_here(tmp_path: Path) -> None:
    file = write(tmp_path, 'data_dir = "kept"')
    assert load_settings(file, environment={}).data_dir == tmp_path / "kept"
    assert load_settings(file, ["data_dir=x"], {}).data_dir == Path("x").resolve()
    bare = write(tmp_path, "")
    assert load_settings(bare, environment={}).data_dir == tmp_path / "flowrate-data"


def test_unknown_key_names_file_and_nearest(tmp_path: Path) -> None:
    file = write(tmp_path, "[api]\nlisten_prt = 1\n[colectors]\n")
    assert problems_of(file) == (
        f"{file}: api.listen_prt: unknown key; did you mean api.listen_port?",
        f"{file}: colectors: unknown key; did you mean collectors?",
    )


def test_key_in_the_wrong_section_says_where_it_belongs(tmp_path: Path) -> None:
    file = write(tmp_path, "[api]\nstop_timeout_seconds = 1\n")
    (problem,) = problems_of(file)
    assert problem.endswith("did you mean supervisor.stop_timeout_seconds?")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("listen_port = 'http'", "api.listen_port = 'http': expected a port, 0 to 65535"),
        ("listen_port = 65536", "api.listen_port = 65536: expected a port, 0 to 65535"),
        ("listen_port = true", "api.listen_port = true: expected a port, 0 to 65535"),
        ("page_size_max = -1", "api.page_size_max = -1: expected a whole number, 0 or more"),
        ("page_size_max = 1.5", "api.page_size_max = 1.5: expected a whole number, 0 or more"),
        (
            "live_sample_seconds = nan",
            "api.live_sample_seconds = nan: expected a number, 0 or more",
        ),
        ("listen_address = 5", "api.listen_address = 5: expected text"),
        ("session_cookie_secure = 1", "api.session_cookie_secure = 1: expected true or false"),
    ],
)
def test_wrong_value_names_key_value_and_what_was_expected(
    tmp_path: Path, line: str, expected: str
) -> None:
    file = write(tmp_path, f"[api]\n{line}\n")
    assert problems_of(file) == (f"{file}: {expected}",)


def test_a_section_is_no_value(tmp_path: Path) -> None:
    file = write(tmp_path, "api = 5")
    assert problems_of(file) == (f"{file}: api = 5: expected a section, [api]",)
    assert problems_of(flags=("api=5",)) == ("flag --set: api: a section, not a key",)


def test_a_list_item_is_named_by_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, '[collectors.radius]\nlisten = ["a:1", 2]\n')
    assert problems_of(file) == (f"{file}: collectors.radius.listen[1] = 2: expected text",)


def test_a_row_is_named_by_its_place_and_its_secret_is_not_shown(tmp_path: Path) -> None:
    file = write(
        tmp_path, '[[collectors.radius.clients]]\nnas_id = "a"\nsecret = 12345\nvender = "x"\n'
    )
    place = f"{file}: collectors.radius.clients[0]"
    found = problems_of(file)
    assert f"{place}.secret = (hidden): expected text" in found
    assert f"{place}.vender: unknown key; did you mean vendor?" in found
    assert any(problem.startswith(f"{place}.address: missing") for problem in found)
    assert "12345" not in "".join(found)


def test_a_password_is_not_shown_wherever_it_stands(tmp_path: Path) -> None:
    file = write(tmp_path, "[office.notifications]\nsmtp_password = 12345\n")
    assert problems_of(file) == (
        f"{file}: office.notifications.smtp_password = (hidden): expected text",
    )


def test_clients_must_be_tables(tmp_path: Path) -> None:
    file = write(tmp_path, "[collectors.radius]\nclients = [1]\n")
    (problem,) = problems_of(file)
    assert problem.endswith("expected a list of tables, [[collectors.radius.clients]]")


def test_choice_out_of_range_lists_the_choices() -> None:
    assert problems_of(flags=("logs.level=warn",)) == (
        "flag --set: logs.level = 'warn': expected one of 'debug', 'info', 'warning', 'error';"
        " did you mean 'warning'?",
    )


def test_unknown_variable_is_named() -> None:
    assert problems_of(environment={"FLOWRATE_API__LISTENPORT": "1"}) == (
        "environment: FLOWRATE_API__LISTENPORT: unknown setting;"
        " did you mean FLOWRATE_API__LISTEN_PORT?",
    )


def test_variables_that_are_no_settings_are_left_alone() -> None:
    load_settings(environment={"FLOWRATE_CONFIG": "x", "FLOWRATE_CORPUS": "y", "PATH": "/bin"})


def test_flag_without_value() -> None:
    assert problems_of(flags=("api.listen_port",)) == (
        "flag --set api.listen_port: expected section.key=value",
    )


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "[api]\nlisten_port = 'x'\nnope = 1\n")
    found = problems_of(file, ("logs.format=xml",), {"FLOWRATE_API__PAGE_SIZE_MAX": "many"})
    assert [problem.partition(":")[0] for problem in found] == [
        str(file),
        str(file),
        "environment",
        "flag --set",
    ]


def test_a_package_check_speaks_for_what_types_cannot(tmp_path: Path) -> None:
    file = write(tmp_path, "[streams]\npartitions = 0\n")
    (problem,) = problems_of(file)
    assert problem.startswith(f"{file}: streams: partitions = 0: expected")
    (problem,) = problems_of(flags=("clock.starts_at=soon",))
    assert "clock: starts_at = 'soon': expected" in problem


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("warehouse.raw_flows.is_enabled=true", 'expected mode = "cluster"'),
        ("warehouse.raw_flows.entry_rows=0", "entry_rows = 0: expected 1 or more"),
        (
            "cluster.worker.mark_interval_milliseconds=0",
            "mark_interval_milliseconds = 0: expected 1 or more",
        ),
        ("warehouse.sink.batch_rows=0", "warehouse.sink.batch_rows = 0: expected 1 or more"),
        ("rating.decode.held_octets_limit=0", "held_octets_limit = 0: expected 1 or more"),
        ("rating.decode.default_sampling_rate=-4", "expected a whole number, 0 or more"),
        ("rating.decode.default_sampling_rate=99999999", "expected 0 to 16777216"),
        ("office.billing.invoices_per_run=-1", "expected a whole number, 0 or more"),
        ("warehouse.endpoint.memory_octets=0", "memory_octets = 0: expected 1 or more"),
    ],
)
def test_no_number_is_negative_and_no_limit_stops_the_work(flag: str, said: str) -> None:
    (problem,) = problems_of(flags=(flag,))
    assert said in problem


def test_the_stages_must_agree_about_what_is_late() -> None:
    (problem,) = problems_of(flags=("rating.rate.lateness_bound_seconds=600",))
    assert "rate.lateness_bound_seconds = 600: expected the same bound" in problem
    settings = load_settings(
        None,
        [f"rating.{stage}.lateness_bound_seconds=600" for stage in ("sessions", "attribution")]
        + ["rating.rate.lateness_bound_seconds=600"],
        {},
    )
    assert settings.rating.rate.lateness_bound_seconds == 600


def test_rows_with_defaults_are_replaced_as_a_whole(tmp_path: Path) -> None:
    assert len(load_settings(environment={}).office.acting.speed_profiles) == 2
    file = write(
        tmp_path, "[[office.acting.speed_profiles]]\nname = 'slow'\nup_bps = 1\ndown_bps = 2\n"
    )
    (profile,) = load_settings(file, environment={}).office.acting.speed_profiles
    assert (profile.name, profile.up_bps, profile.down_bps) == ("slow", 1, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[api\n", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8 text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "flowrate.toml"
    if content is not None:
        file.write_bytes(content)
    (problem,) = problems_of(file)
    assert problem.startswith(f"{file}: {said}")


def test_the_file_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    write(tmp_path, "")
    assert find_file(None, {}) == Path("flowrate.toml")
    assert find_file(None, {"FLOWRATE_CONFIG": "a.toml"}) == Path("a.toml")
    assert find_file(Path("b.toml"), {"FLOWRATE_CONFIG": "a.toml"}) == Path("b.toml")


def test_variable_of_a_key() -> None:
    assert variable_of(("api", "listen_port")) == "FLOWRATE_API__LISTEN_PORT"
