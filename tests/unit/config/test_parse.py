"""Reading the configuration: which source wins, what each text becomes, and what an error says."""

import contextlib
import copy
import dataclasses
import io
import math
import random
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import exoip
from exoip.config.options import BY_NAME, OPTIONS, Kind
from exoip.config.parse import Config, Mode, Peer, Secret, describe, parse
from exoip.errors import ConfigError, UsageError
from exoip.heartbeat.authentication import AuthMode
from exoip.heartbeat.socket_address import SocketAddress

UUID = "01234567-89ab-cdef-0123-456789abcdef"
OTHER_UUID = "fedcba98-7654-3210-fedc-ba9876543210"
SECRET = "9sEcReT-x_Yz0"
AUTH_KEY, OLD_AUTH_KEY = "0f8c-kEy-oF-tHe-BeAtS", "an-OlDeR-kEy-oF-tHeM"
EIP = "198.51.100.50"
# Every required setting, so that a test adds the one it is about.
ENV = {
    "IF_ADDRESS": EIP,
    "IF_EXOSCALE_API_KEY": "EXOtest",
    "IF_EXOSCALE_API_SECRET": SECRET,
    "IF_EXOSCALE_PEERS": "10.0.0.2",
    "IF_AUTH_KEY": AUTH_KEY,
}
WATCH = ["-W"]


def without(*names: str, **more: str) -> dict[str, str]:
    return {name: text for name, text in ENV.items() if name not in names} | more


def refused(argv: list[str], environ: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(argv, environ)
    message = str(caught.value)
    assert message.isprintable(), "one line"
    assert not [secret for secret in (SECRET, AUTH_KEY, OLD_AUTH_KEY) if secret in message]
    return caught.value


@pytest.fixture
def conf(tmp_path: Path):
    """Writes a private configuration file and gives its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "web.conf"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o640)
        return str(path)

    return write


# --- what comes out --------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    config = parse(WATCH, ENV)
    assert config == Config(
        mode=Mode.WATCH, address=EIP, bind_address=SocketAddress("", 12345), instance_id=None,
        peers=(Peer("10.0.0.2", None, None),), peer_group=None, host_priority=10, dead_ratio=3.0,
        advertisement_interval=1.0, api_key="EXOtest", api_secret=Secret(SECRET), api_endpoint=None, zone=None,
        metadata_url="http://metadata.exoscale.com", preempt_delay=0.0, flap_damping=True, verify_interval=30.0, leave_timeout=10.0,
        no_preempt=False, check_command=None, check_tcp=(), check_http=(), check_interval=2.0, check_timeout=2.0,
        check_rise=2, check_fall=3, notify=None, notify_timeout=30.0, metrics_listen=None, control_socket=None,
        auth_keys=(Secret(AUTH_KEY),), auth_mode=AuthMode.REQUIRE,
        verbose=False, log_stdout=False, check_config=False, config_file=None, warnings=(), sources=config.sources,
    )  # fmt: skip
    assert config.sources["address"] == "environment IF_ADDRESS"
    assert config.sources["mode"] == "command line"
    assert config.sources["dead-ratio"] == config.sources["exoscale-zone"] == "default"


def test_without_a_key_nothing_is_signed() -> None:
    config = parse(WATCH, without("IF_AUTH_KEY"))
    assert (config.auth_keys, config.auth_mode) == ((), None)
    assert "auth-key" in str(refused([*WATCH, "--auth-mode", "require"], without("IF_AUTH_KEY")))


def test_the_key_of_the_heartbeats_is_not_the_secret_of_the_api() -> None:
    key = "the-same-for-everything"
    error = refused(WATCH, without(IF_AUTH_KEY=key, IF_EXOSCALE_API_SECRET=key))
    assert "--auth-key" in str(error)
    assert key not in str(error)


def test_no_key_is_shown_nor_in_an_error(conf) -> None:
    """Neither of two, wherever they come from and whatever else is wrong."""
    both = f"{AUTH_KEY}, {OLD_AUTH_KEY}"
    shown = describe(parse([*WATCH, "--auth-key", both], without("IF_AUTH_KEY")))
    assert "****, ****" in shown
    assert AUTH_KEY not in shown
    assert OLD_AUTH_KEY not in shown
    assert AUTH_KEY not in repr(parse(WATCH, ENV))
    for key in (AUTH_KEY, OLD_AUTH_KEY):  # where another option's error quotes it
        refused([*WATCH, "-P", key], without(IF_AUTH_KEY=both))
        refused([*WATCH, "-c", conf(f"auth-key = {both}\nhost-priority = {key}\n")], without("IF_AUTH_KEY"))
        refused([*WATCH, "--auth-key", both, "-P", key], without("IF_AUTH_KEY"))


def same(*texts: str) -> list[tuple[str, object]]:
    return [(text, text) for text in texts]


# Three texts of each option, with their values.
SAMPLES: dict[str, list[tuple[str, object]]] = {
    "address": [("192.0.2.1", "192.0.2.1"), ("192.0.2.2/32", "192.0.2.2"), ("192.0.2.3", "192.0.2.3")],
    "host-priority": [("1", 1), ("252", 252), ("077", 77)],
    "bind-address": [
        ("10.0.0.1:1", ("10.0.0.1", 1)), (":99", ("", 99)), ("10.0.0.1", ("10.0.0.1", 12345)), ("[::]", ("::", 12345)),
        ("0.0.0.0:5", ("0.0.0.0", 5)), ("[::ffff:10.0.0.1]:7", ("10.0.0.1", 7)),  # noqa: S104
    ],
    "exoscale-peers": [
        ("10.0.0.7", (Peer("10.0.0.7", None, None),)),
        (f"10.0.0.8:5={UUID.upper()}", (Peer("10.0.0.8", 5, UUID),)),
        ("10.0.0.9,10.0.0.10", (Peer("10.0.0.9", None, None), Peer("10.0.0.10", None, None))),
    ],
    "dead-ratio": [("2", 2.0), ("2.5", 2.5), ("255", 255.0)],
    "advertisement-interval": [("0.05", 0.05), ("255", 255.0), (".5", 0.5)],
    "exoscale-instance-id": [(UUID, UUID), (OTHER_UUID.upper(), OTHER_UUID), (f"0{UUID[1:]}", f"0{UUID[1:]}")],
    "exoscale-api-key": same("EXO1", "EXO2", "EXO3"),
    "exoscale-api-secret": [(text, Secret(text)) for text in ("-a/b+c==", "s3cret-2", "_3")],
    "exoscale-api-endpoint": [
        ("https://api-ch-gva-2.exoscale.com", "https://api-ch-gva-2.exoscale.com/v2"),
        ("http://127.0.0.1:8080/v2/", "http://127.0.0.1:8080/v2"),
        ("https://API-DE-FRA-1.exoscale.com/v2", "https://api-de-fra-1.exoscale.com/v2"),
    ],
    "exoscale-zone": [("ch-gva-2", "ch-gva-2"), ("CH-DK-2", "ch-dk-2"), ("sim", "sim")],
    "exoscale-metadata-url": [
        ("http://169.254.169.254/", "http://169.254.169.254"), ("http://[::1]:80/a/", "http://[::1]:80/a"),
        ("http://m", "http://m"),
    ],
    "preempt-delay": [("0", 0.0), ("86400", 86400.0), ("1.5", 1.5)],
    "no-preempt": [("yes", True), ("no", False), ("1", True)],
    "flap-damping": [("no", False), ("yes", True), ("off", False)],
    "verify-interval": [("0.5", 0.5), ("3600", 3600.0), ("10", 10.0)],
    "leave-timeout": [("0", 0.0), ("600", 600.0), ("5", 5.0)],
    "check-command": same("true", "pgrep -x nginx >/dev/null && echo 'well = so'", "a; b | c, d"),
    "check-tcp": [
        (":443", (("127.0.0.1", 443),)), ("192.0.2.1:1, [::1]:65535", (("192.0.2.1", 1), ("::1", 65535))),
        ("10.0.0.1:80", (("10.0.0.1", 80),)),
    ],
    "check-http": [
        ("http://127.0.0.1:8080/healthz", ("http://127.0.0.1:8080/healthz",)),
        ("https://WEB.example.org", ("https://web.example.org/",)),
        ("http://a/?b=c,http://[::1]:80/d/", ("http://a/?b=c", "http://[::1]:80/d/")),
    ],
    "check-interval": [("0.1", 0.1), ("3600", 3600.0), ("5", 5.0)],
    "check-timeout": [("0.1", 0.1), ("30", 30.0), ("5", 5.0)],
    "check-rise": [("1", 1), ("100", 100), ("07", 7)],
    "check-fall": [("1", 1), ("100", 100), ("9", 9)],
    "auth-key": [
        (AUTH_KEY, (Secret(AUTH_KEY),)), ("!" * 16, (Secret("!" * 16),)),
        (f"{OLD_AUTH_KEY} , {AUTH_KEY}", (Secret(OLD_AUTH_KEY), Secret(AUTH_KEY))),
    ],
    "auth-mode": [("send", AuthMode.SEND), ("accept", AuthMode.ACCEPT), ("Require", AuthMode.REQUIRE)],
    "notify": same("/usr/local/bin/n", "/etc/exoip/hooks/a b", "/x/y"),
    "notify-timeout": [("0.1", 0.1), ("600", 600.0), ("5", 5.0)],
    "metrics-listen": [("127.0.0.1:9479", ("127.0.0.1", 9479)), (":1", ("", 1)), ("[::1]:65535", ("::1", 65535))],
    "verbose": [("true", True), ("0", False), ("YES", True)],
    "control-socket": same("/run/x", "/run/exoip/a b", "/" + "c" * 106),
    "log-stdout": [("no", False), ("on", True), ("off", False)],
}  # fmt: skip


def value(config: Config, name: str) -> object:
    return getattr(config, BY_NAME[name].field)


def test_the_samples_are_complete() -> None:
    assert set(SAMPLES) | {"exoscale-peer-group"} == {option.name for option in OPTIONS if option.in_file}


@pytest.mark.parametrize(("name", "text", "wanted"), [(name, *each) for name in SAMPLES for each in SAMPLES[name]])
def test_each_text_becomes_its_value(name: str, text: str, wanted: object) -> None:
    assert value(parse([*WATCH, f"--{name}={text}"], ENV), name) == wanted


@pytest.mark.parametrize("seed", range(40))
def test_command_line_beats_environment_beats_file(seed: int, conf) -> None:
    """Each option alone, whatever the others do: the first source that has a text wins."""
    chance, path = random.Random(seed), conf("")
    argv, environ, lines, expected = list(WATCH), dict(ENV), [], {}
    for name, samples in SAMPLES.items():
        if name == "no-preempt":  # excludes preempt-delay; test_two_that_exclude_each_other has it
            continue
        variable = BY_NAME[name].variables[0]
        on_line, in_environment, in_file = ((chance.random() < 0.5, *chance.choice(samples)) for _ in range(3))
        if on_line[0]:
            argv.append(f"-{name}={on_line[1]}")
        if in_environment[0]:
            environ[variable] = in_environment[1]
        if in_file[0]:
            lines.append(f"{name} = {in_file[1]}\n")
        if on_line[0]:
            expected[name] = on_line[2], "command line"
        elif in_environment[0]:
            expected[name] = in_environment[2], f"environment {variable}"
        elif in_file[0] and variable not in ENV:
            expected[name] = in_file[2], f"file {path}, line {len(lines)}"
    config = parse([*argv, "-c", conf("".join(lines))], environ)
    assert {name: (value(config, name), config.sources[name]) for name in expected} == expected


def test_a_peer_group_from_each_source(conf) -> None:
    alone = without("IF_EXOSCALE_PEERS")
    path = conf("exoscale-peer-group = 'web #1'  # quotes keep the number sign\n")
    assert parse([*WATCH, "-c", path], alone).peer_group == "web #1"
    assert parse([*WATCH, "-c", path], alone | {"IF_EXOSCALE_PEER_GROUP": "lb"}).peer_group == "lb"
    assert parse([*WATCH, "-c", path, "-G", "db"], alone | {"IF_EXOSCALE_PEER_GROUP": "lb"}).peer_group == "db"


@pytest.mark.parametrize("text", ["--", "-x", "--x", "-1", "a=b", "-x=y"])
def test_a_value_may_begin_with_a_dash(text: str) -> None:
    alone = without("IF_EXOSCALE_PEERS")
    assert parse([*WATCH, "-G", text], alone).peer_group == text
    assert parse([*WATCH, f"-G={text}"], alone).peer_group == text
    assert parse(WATCH, alone | {"IF_EXOSCALE_PEER_GROUP": text}).peer_group == text


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.kind is Kind.VALUE and each.name != "config"])
def test_each_spelling_of_each_option(option) -> None:
    """As with Go's flags: one dash or two, the value behind = or as the next word."""
    (text, wanted), (other, _) = SAMPLES.get(option.name, same("web", "db"))[:2]
    environ = without(option.variables[0], *(["IF_EXOSCALE_PEERS"] if option.short == "G" else []))
    assert len(option.spellings) == 2 * (1 + bool(option.short))
    for spelling in option.spellings:
        for words in ([spelling, text], [f"{spelling}={text}"], [spelling, other, f"--{option.name}={text}"]):
            if len(words) < 3 or not option.repeats:  # the last one counts
                assert getattr(parse(WATCH + words, environ), option.field) == wanted, words


@pytest.mark.parametrize(
    ("words", "verbose"),
    [
        ("-v", True), ("--verbose", True), ("-verbose", True), ("--v", True), ("-v=true", True), ("-v=false", False),
        ("--verbose=no", False),
    ],
)  # fmt: skip
def test_spellings_of_a_flag(words: str, verbose: bool) -> None:
    assert parse([*WATCH, words], ENV).verbose is verbose


def test_a_flag_that_is_off_in_the_environment_beats_the_file(conf) -> None:
    path = conf("verbose = yes\nno-preempt = on\n")
    config = parse([*WATCH, "-c", path], ENV | {"IF_VERBOSE": "0", "IF_NO_PREEMPT": "false"})
    assert (config.verbose, config.preempt_delay) == (False, 0.0)


@pytest.mark.parametrize(
    ("words", "mode"), [("-A", "attach"), ("-D", "detach"), ("--A", "attach"), ("-W=no -D=yes", "detach")]
)
def test_attach_and_detach_need_no_peers(words: str, mode: str) -> None:
    config = parse(words.split(), without("IF_EXOSCALE_PEERS"))
    assert config.mode is Mode(mode)
    assert config.peers == ()


def test_peers_repeated_and_with_commas_and_of_both_families() -> None:
    words = f"-p 10.0.0.2 -p=10.0.0.3:99,[2001:db8::1]:9={UUID} --exoscale-peers 2001:DB8:0::2=".split()
    words[-1] += OTHER_UUID
    assert parse(WATCH + words, without("IF_EXOSCALE_PEERS")).peers == (
        Peer("10.0.0.2", None, None),
        Peer("10.0.0.3", 99, None),
        Peer("2001:db8::1", 9, UUID),
        Peer("2001:db8::2", None, OTHER_UUID),
    )


def test_peers_as_an_ifupdown_stanza_and_a_file_may_have_them(conf) -> None:
    environ = without("IF_EXOSCALE_PEERS")
    path = conf("exoscale-peers = 10.0.0.2\nexoscale-peers = 10.0.0.3, 10.0.0.4,\n")
    for config in (
        parse(WATCH, environ | {"IF_EXOSCALE_PEERS": "10.0.0.2 10.0.0.3,10.0.0.4"}),
        parse([*WATCH, "-c", path], environ),
    ):
        assert [peer.address for peer in config.peers] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_an_ifupdown_stanza_is_a_whole_configuration() -> None:
    environ = {
        "IFACE": "lo:1", "LOGICAL": "lo:1", "ADDRFAM": "inet", "METHOD": "static", "MODE": "start", "PHASE": "post-up",
        "IF_ADDRESS": "198.51.100.50/32", "IF_NETMASK": "255.255.255.255", "IF_EXOSCALE_PEER_GROUP": "load-balancer",
        "IF_EXOSCALE_API_KEY": "EXOtest", "IF_EXOSCALE_API_SECRET": SECRET, "IF_HOST_PRIORITY": "5",
        "IF_BIND_TO": "10.0.0.1:12346",
    }  # fmt: skip
    config = parse(["-W"], environ)
    assert (config.address, config.peer_group, config.host_priority) == (EIP, "load-balancer", 5)
    assert config.bind_address == ("10.0.0.1", 12346)
    assert config.sources["bind-address"] == "environment IF_BIND_TO"
    assert config.warnings == ()


# --- the environment and credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [each for each in OPTIONS if len(each.variables) > 1])
def test_the_variables_of_an_option_in_their_order(option) -> None:
    environ = without(option.variables[0])
    for (text, wanted), variable in zip(SAMPLES[option.name], reversed(option.variables), strict=False):
        environ[variable] = text
        config = parse(WATCH, environ)
        assert getattr(config, option.field) == wanted
        assert config.sources[option.name] == f"environment {variable}"


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_an_empty_variable_is_not_set(blank: str, conf) -> None:
    environ = dict.fromkeys((variable for each in OPTIONS for variable in each.variables), blank) | ENV
    config = parse([*WATCH, "-c", conf("dead-ratio = 4")], environ)
    assert (config.dead_ratio, config.host_priority, config.verbose) == (4.0, 10, False)
    assert parse(WATCH, environ | {"EXOSCALE_API_KEY": "EXOa", "IF_EXOSCALE_API_KEY": blank}).api_key == "EXOa"
    assert "missing" in str(refused(WATCH, ENV | {"IF_ADDRESS": blank}))


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.credential], ids=lambda option: option.name)
def test_credentials_lie_between_the_environment_and_the_file(option, tmp_path: Path, conf) -> None:
    samples = SAMPLES[option.name]
    (tmp_path / option.credential).write_text(f"{samples[0][0]}\n")
    environ = without(option.variables[0], CREDENTIALS_DIRECTORY=str(tmp_path))
    argv = [*WATCH, "-c", conf(f"{option.name} = {samples[1][0]}\n")]
    config = parse(argv, environ)
    assert value(config, option.name) == samples[0][1]
    assert config.sources[option.name] == f"credential {option.credential}"
    assert value(parse(argv, environ | {option.variables[-1]: samples[2][0]}), option.name) == samples[2][1]
    assert value(parse([*argv, f"--{option.name}={samples[2][0]}"], environ), option.name) == samples[2][1]


def test_a_credentials_directory_without_ours(tmp_path: Path) -> None:
    assert parse(WATCH, ENV | {"CREDENTIALS_DIRECTORY": str(tmp_path)}).api_key == "EXOtest"
    bare = without("IF_EXOSCALE_API_KEY", CREDENTIALS_DIRECTORY=str(tmp_path / "absent"))
    assert "exoscale-api-key" in str(refused(WATCH, bare))


def test_a_credential_that_cannot_be_read_is_named_however_long_its_path(tmp_path: Path) -> None:
    folder = tmp_path / ("credentials-" * 10)
    (folder / "api-secret").mkdir(parents=True)
    environ = without("IF_EXOSCALE_API_SECRET", CREDENTIALS_DIRECTORY=str(folder))
    assert str(folder / "api-secret") in str(refused(WATCH, environ))
    assert parse([*WATCH, "-xs", SECRET], environ).api_secret == Secret(SECRET)


def test_a_misspelt_variable_of_ours_is_warned_of_without_its_value() -> None:
    (warning,) = parse(WATCH, ENV | {"IF_EXOSCALE_API_SECRT": "hidden", "IF_METRIC": "1"}).warnings
    assert "IF_EXOSCALE_API_SECRT" in warning
    assert "IF_EXOSCALE_API_SECRET" in warning
    assert "hidden" not in warning


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_form_of_the_file(conf) -> None:
    path = conf(
        "\ufeff# a comment\r\n; another\n\n  host-priority=20   # lowest wins\n"
        'exoscale-zone = "ch-gva-2" # quoted\nexoscale-api-secret = a#b;c=d==\nno-preempt = yes\n'
    )
    config = parse([*WATCH, "-c", path], without("IF_EXOSCALE_API_SECRET"))
    assert (config.host_priority, config.zone, config.preempt_delay) == (20, "ch-gva-2", math.inf)
    assert config.api_secret.reveal() == "a#b;c=d=="
    assert config.config_file == path
    assert parse([*WATCH, "-c", conf("")], ENV).host_priority == 10


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ('"/usr/bin/test" -d "/tmp"', '"/usr/bin/test" -d "/tmp"'),
        ('"/usr/bin/test -d /tmp"  # all of it', "/usr/bin/test -d /tmp"),
        ("'test \"$a\" = b'", 'test "$a" = b'),
        ("test -n '#' -a \"x # y\"  # z", "test -n '#' -a \"x # y\""),
        ("echo it's # fine", "echo it's"),
        ('""', None),
        ('"/usr/bin/test', None),
        ("true '", None),
        ("'a' b'", None),
    ],
)
def test_quotes_are_stripped_if_they_enclose_the_whole_value(conf, written: str, line: str | None) -> None:
    path = conf(f"check-command = {written}\n")
    if line is not None:
        assert [check.target for check in parse([*WATCH, "-c", path], ENV).health_checks] == [line]
    else:
        with pytest.raises(ConfigError, match=r"line 1: check-command has (no value|a quote without its partner)"):
            parse([*WATCH, "-c", path], ENV)


def test_a_quote_without_its_partner_is_no_part_of_a_secret(conf) -> None:
    with pytest.raises(ConfigError, match="line 1: auth-key has a quote without its partner") as caught:
        parse([*WATCH, "-c", conf(f'auth-key = "{AUTH_KEY}\n')], ENV)
    assert AUTH_KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "needles"),
    [
        ("\nhost-priorty = 1", 2, ["no option host-priorty", "did you mean host-priority?"]),
        ("peers = 10.0.0.2", 1, ["did you mean exoscale-peers?"]),
        ("Host-Priority = 1", 1, ["did you mean host-priority?"]),
        ("P = 1", 1, ["no option P"]),
        ("watch = yes", 1, ["command line", "-W"]),
        ("config = x", 1, ["command line"]),
        ("check-config = yes", 1, ["command line"]),
        ("verbose = yes\n\nverbose = no", 3, ["verbose", "second time", "line 1"]),
        ("host-priority 10", 1, ["name = value"]),
        ("[exoip]", 1, ["name = value"]),
        ("verbose", 1, ["verbose = yes"]),
        ("host-priority =", 1, ["host-priority = NUMBER"]),
        ("host-priority = # none", 1, ["no value"]),
        ("host-priority = ''", 1, ["no value"]),
        ("host-priority = 10\nhost-priority: 10", 2, ["name = value"]),
        ("host-priority = 256", 1, ["host-priority", "'256'", "0 to 255"]),
        (f"exoscale-api-secret =\n{SECRET}=", 1, ["exoscale-api-secret"]),
        (f"exoscale-api-secret = {SECRET} \n{SECRET} = 1", 2, ["name = value"]),
        (f"exoscale-api-secrt = {SECRET}", 1, ["did you mean exoscale-api-secret?"]),
        (f"exoscale-api-secret: {SECRET}", 1, ["name = value"]),
        (f"exoscale-api-secret = {SECRET} {SECRET}", 1, ["exoscale-api-secret"]),
    ],
)
def test_a_line_that_is_rejected_is_named(content: str, line: int, needles: list[str], conf) -> None:
    path = conf(content)
    error = refused([*WATCH, "-c", path], without("IF_EXOSCALE_API_SECRET"))
    assert type(error) is ConfigError
    for needle in [f"file {path}, line {line}", *needles]:
        assert needle in str(error)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, conf) -> None:
    (tmp_path / "loop.conf").symlink_to("loop.conf")
    for path in (
        str(tmp_path / "absent.conf"),
        str(tmp_path / "loop.conf"),
        str(tmp_path),
        f"{tmp_path}\0",
        conf(b"verbose = yes\n# \xff\n"),
    ):
        error = refused([*WATCH, "-c", path], ENV)
        assert type(error) is ConfigError
        assert str(tmp_path) in str(error)
    assert "line 2" in str(error)
    assert "larger" in str(refused([*WATCH, "-c", "/dev/zero"], ENV))


def test_a_secret_in_a_file_that_everyone_may_read_is_warned_of(conf) -> None:
    path = conf(f"exoscale-api-secret = {SECRET}\n")
    assert parse([*WATCH, "-c", path], ENV).warnings == ()
    Path(path).chmod(0o644)
    (warning,) = parse([*WATCH, "-c", path], ENV).warnings
    assert path in warning
    assert SECRET not in warning


# --- what is refused -------------------------------------------------------------------------------------------------

NUMBERS = ["0", "-1", "-0.0001", "nan", "inf", "-inf", "ten", "1e3", "1_0", "1,5", "5s", "0x10", "\u0661", "9" * 5000]
BAD = {
    "address": ["ten", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4/24", "1.2.3.4/", "1.2.3.4/032", "::1",
                "0.0.0.0", "2001:db8::/129", "2001:db8::/", "2001:db8::/x", "2001:db8::1%lo", "fe80::1", "::/96",  # noqa: S104
                "ff02::1", "::ffff:192.0.2.1", "[2001:db8::1]", "2001:db8::1:80:",
                "224.0.0.1", "255.255.255.255", "eip.example.org", "1.2.3.4 1.2.3.5", "1.2.3.4:80"],
    "host-priority": ["256", "-1", "ten", "1.5", "nan", "inf", "+5", "1_0", "\u0661", "9" * 5000],
    "bind-address": ["ten", "12345", "localhost:12345", "*:12345", "10.0.0.1:", ":", ":0", ":65536", ":-1", "10.0.0:80",
                     "[::1", "[10.0.0.1]:80", "[::1]80", "::1%lo", "fe80::1%eth0", "fe80::1",
                     "10.0.0.1:80:90", "[]:1", ":\u0661"],
    "exoscale-peers": ["ten", "web1.example.org", "10.0.0.2:0", "10.0.0.2:http", "10.0.0.2=", "10.0.0.2=i-1", ",",
                       "0.0.0.0",  # noqa: S104
                       "10.0.0.2;10.0.0.3", "224.0.0.1", "fe80::1%eth0", "fe80::1", f"={UUID}", "10.0.0.2,10.0.0.256", "12345"],
    "dead-ratio": [*NUMBERS, "0.5", "256"],
    "advertisement-interval": [*NUMBERS, "0.049", "255.1"],
    "flap-damping": ["maybe", "2"],
    "verify-interval": [*NUMBERS, "0.4", "3601"],
    "leave-timeout": [*NUMBERS[1:], "601"],
    "preempt-delay": [*NUMBERS[1:], "86401"],
    "exoscale-instance-id": ["ten", UUID[:-1], UUID + "0", f"{{{UUID}}}", UUID.replace("-", ""), "g" + UUID[1:]],
    "exoscale-api-endpoint": [
        "ten", "api-ch-gva-2.exoscale.com", "http://api-ch-gva-2.exoscale.com/v2", "ftp://a/v2", "https://",
        "https:///v2", "https://a/v3", "https://a:x/v2", "https://a:99999/v2", "https://[::1/v2",
        "https://[x]/v2", "https://a b/v2", "https://a/v2?x=1", "https://a/v2#x", "https://a:0/v2",
        "https://[::1]:0/v2", "https://[fe80::1%eth0]/v2", "http://127.0.0.1x/v2", "https://a_b/v2",
        "https://api.exoscale.ch/compute", "https://api.exoscale.com/v1", "http://127.0.0.1.example.org/v2",
    ],
    "exoscale-metadata-url": ["ten", "metadata.exoscale.com", "file:///etc/passwd", "http://", "http://a\nb", "http://a?b"],
    "exoscale-zone": ["ch gva 2", "ch-gva-2.example.org", "-a", "a/b", "\u00e9", "a" * 41],
    "exoscale-peer-group": ["a\nb", "\udcff", "g" * 256],
    "exoscale-api-key": ["EXO test", "EXO,test", "EXO\ntest", "EX\u00d6"],
    "exoscale-api-secret": ["two words", "line\nbreak", "\u00e9\u00e9\u00e9\u00e9\u00e9", "\udcff\udcff"],
    "no-preempt": ["maybe", "2", "ja"],
    "check-command": ["a\nb", "a\tb", "\udcff", "x" * 4097],
    "check-tcp": ["ten", "127.0.0.1", "localhost:80", ":0", ":65536", "10.0.0.1:", "0.0.0.0:80", "224.0.0.1:80",
                  ",", ":80,:80", ":80,127.0.0.1:80", "10.0.0.1:80;10.0.0.2:80", "[::1]"],
    "check-http": ["ten", "127.0.0.1:80", "ftp://a/", "http://", "http://a/#x", "http://a/?b#c", "http://a:0/",
                   ",", "http://a,http://a/", "http://a/?\u00e9"],
    "check-interval": [*NUMBERS, "0.09", "3601"],
    "check-timeout": [*NUMBERS, "0.09", "31"],
    "check-rise": [*NUMBERS, "1.5", "101"],
    "check-fall": [*NUMBERS, "1.5", "101"],
    "auth-key": ["x" * 15, "x" * 257, f"{AUTH_KEY},", f"{AUTH_KEY},{AUTH_KEY}", f"{AUTH_KEY} x", f"{AUTH_KEY},{'y' * 16},{'z' * 16}",
                 "\u00e9" * 16, f"{AUTH_KEY},short", "sixteen\ncharacters-or-more"],
    "auth-mode": ["maybe", "yes", "require,accept"],
    "notify": ["notify", "./notify", "/", "//notify", "/a/", "/a\nb", "/" + "a" * 1024],
    "notify-timeout": [*NUMBERS, "0.09", "601"],
    "metrics-listen": ["ten", "9479", "127.0.0.1", "localhost:9479", ":0", ":65536", "[::1]", ":", "10.0.0.1:80,10.0.0.2:80"],
    "verbose": ["maybe", "-1"],
    "log-stdout": ["syslog"],
    "control-socket": ["control", "./control", "/run/\nx", "/run/\udcff", "/" + "c" * 107, "/" + "\u00e9" * 54],
}  # fmt: skip


def test_something_bad_for_every_setting() -> None:
    assert set(BAD) == {option.name for option in OPTIONS if option.in_file}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_named_with_its_option_and_source(name: str, text: str, conf) -> None:
    option = BY_NAME[name]
    variable = option.variables[0]
    rest = without(variable, *(["IF_EXOSCALE_PEERS"] if option.short == "G" else []))
    on_line = refused([*WATCH, f"--{name}={text}"], rest)
    in_environment = refused(WATCH, rest | {variable: text})
    assert type(on_line) is UsageError
    assert type(in_environment) is ConfigError
    assert "(command line)" in str(on_line)
    assert f"(environment {variable})" in str(in_environment)
    for error in (on_line, in_environment):
        assert option.label in str(error)
        assert "must be" in str(error)
        assert len(str(error)) < 400
        if option.credential or re.search(r"[\n\t]", text):
            assert text not in str(error)
            assert repr(text) not in str(error)
        elif len(text) < 80:
            assert repr(text) in str(error)
    if "\n" not in text and text.isprintable():
        in_file = refused([*WATCH, "-c", conf(f"{name} = '{text}'")], rest)
        assert type(in_file) is ConfigError
        assert "web.conf, line 1)" in str(in_file)


@pytest.mark.parametrize(
    ("argv", "needles"),
    [
        pytest.param([], ["-A", "-D", "-W", "none"], id="no mode"),
        pytest.param(["-W=no"], ["none"], id="mode taken back"),
        pytest.param(["-A", "-W"], ["-A and -W"], id="two modes"),
        pytest.param(["-A", "-D", "-W"], ["-A and -D and -W"], id="three modes"),
        pytest.param(["-W", "--watch"], ["unknown option --watch"], id="mode by a long name"),
        pytest.param(["-W", "-P"], ["-P", "no value", "NUMBER"], id="value missing at the end"),
        pytest.param(["-P", "-W"], ["-P", "no value"], id="value missing before an option"),
        pytest.param(["-W", "-P", "-1"], ["'-1'", "0 to 255"], id="negative number"),
        pytest.param(["-W", "-xi", ""], ["-xi", "no value"], id="empty value"),
        pytest.param(["-W", "-xi", "::ffff:192.0.2.1"], ["write 192.0.2.1"], id="IPv4 as IPv6"),
        pytest.param(["-W", "-G= "], ["-G", "no value"], id="blank value"),
        pytest.param(["-W", "--host-priorty=20"], ["--host-priorty", "--host-priority?"], id="misspelt"),
        pytest.param(["-W", "--host_priority=20"], ["--host-priority?"], id="underscore"),
        pytest.param(["-W", "--peers=10.0.0.2"], ["--exoscale-peers?"], id="without the prefix"),
        pytest.param(["-W", "--host-prio=20"], ["unknown option --host-prio"], id="abbreviated"),
        pytest.param(["-W", "-host-prio", "20"], ["unknown option -host-prio"], id="abbreviated with one dash"),
        pytest.param(["-W", "-P20"], ["belongs to no option"], id="glued value"),
        pytest.param(["-W", "-Z"], ["unknown option -Z"], id="no such letter"),
        pytest.param(["-Wv"], ["unknown option -Wv"], id="two in one word"),
        *(
            pytest.param(["-W", *words.split()], ["belongs to no option"], id=f"stray {words}")
            for words in ("start", "--", "-", "-1", "-v yes")
        ),
    ],
)
def test_a_wrong_command_line(argv: list[str], needles: list[str]) -> None:
    error = refused(argv, ENV)
    assert type(error) is UsageError
    for needle in needles:
        assert needle in str(error)


@pytest.mark.parametrize("name", ["IF_ADDRESS", "IF_EXOSCALE_API_KEY", "IF_EXOSCALE_API_SECRET"])
@pytest.mark.parametrize("mode", ["-A", "-D", "-W"])
def test_what_is_required_is_named_with_every_way_to_give_it(name: str, mode: str) -> None:
    error = refused([mode], without(name))
    (option,) = (each for each in OPTIONS if name in each.variables)
    for way in (f"{option.name} (-{option.short}, ", *option.variables, option.credential or "", "no file was read"):
        assert way in str(error)


def test_everything_that_is_missing_is_named_at_once_with_the_file_that_was_read(conf) -> None:
    path = conf("host-priority = 20\n")
    message = str(refused(["-W", "-c", path], {}))
    required = [option.name for option in OPTIONS if option.required]
    for name in (*required, "exoscale-peers", "exoscale-peer-group", f"'{path}' was read"):
        assert name in message


@pytest.mark.parametrize(
    "text", ["EXO...", "...", "EXOxxxxxxxxxxxx", "xxxxxxxxxxxxxxxxxx", "<secret>", "PUT-IT-HERE", "changeme", "YOUR_API_KEY"]
)  # fmt: skip
@pytest.mark.parametrize("name", ["exoscale-api-key", "exoscale-api-secret", "auth-key"])
def test_the_placeholder_of_an_example_is_rejected(name: str, text: str, conf) -> None:
    path = conf(f"{name} = {text}\n")
    message = str(refused(["-W", "-c", path], without(*BY_NAME[name].variables)))
    assert f"--{name} " in message
    assert "file" in message
    assert "must be" in message


def test_keys_that_only_look_odd_are_no_placeholders() -> None:
    for text in ("EXO0123456789abcdef01234567", "exo-key-1", "EXO.x.9"):
        assert parse(WATCH, ENV | {"IF_EXOSCALE_API_KEY": text}).api_key == text


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("IF_HOST_PRIORTY", "IF_HOST_PRIORITY"), ("IF_DEAD_RATIOS", "IF_DEAD_RATIO"), ("IF_AUTHKEY", "IF_AUTH_KEY")],
)
def test_a_variable_that_is_nearly_an_option_is_warned_of(variable: str, meant: str) -> None:
    (warning,) = parse(WATCH, ENV | {variable: "5"}).warnings
    assert variable in warning
    assert f"did you mean {meant}?" in warning


def test_the_variables_of_ifupdown_are_its_own() -> None:
    own = """ADDRESS NETMASK BROADCAST GATEWAY METRIC MTU POINTOPOINT HWADDRESS SCOPE DAD_ATTEMPTS DAD_INTERVAL PRIVEXT
    ACCEPT_RA AUTOCONF REQUEST_PREFIX PREFERRED_LIFETIME ENDPOINT LOCAL TTL MODE PROVIDER LEASEHOURS LEASETIME VENDOR
    CLIENT HOSTNAME DNS_NAMESERVERS DNS_SEARCH BRIDGE_PORTS BRIDGE_STP BRIDGE_FD BRIDGE_MAXWAIT BOND_MODE BOND_SLAVES
    BOND_MIIMON VLAN_RAW_DEVICE WPA_SSID WPA_PSK"""
    assert parse(WATCH, {f"IF_{name}": "1" for name in own.split()} | ENV).warnings == ()


def test_watching_without_peers_or_group() -> None:
    message = str(refused(WATCH, without("IF_EXOSCALE_PEERS")))
    for way in ("-p, ", "-G, ", "IF_EXOSCALE_PEERS", "IF_EXOSCALE_PEER_GROUP"):
        assert way in message


WAYS = ["command line", "environment", "file"]


def two(
    first: tuple[str, str], way: str, second: tuple[str, str], other: str, conf
) -> tuple[list[str], dict[str, str]]:
    """Both settings, each in its way."""
    argv, environ, lines = list(WATCH), without("IF_EXOSCALE_PEERS"), []
    for (name, text), where in ((first, way), (second, other)):
        if where == "command line":
            argv.append(f"--{name}={text}")
        elif where == "environment":
            environ[BY_NAME[name].variables[0]] = text
        else:
            lines.append(f"{name} = {text}")
    return [*argv, "-c", conf("\n".join(lines))], environ


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", WAYS)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("exoscale-peers", "10.0.0.2"), ("exoscale-peer-group", "web")),
        (("no-preempt", "yes"), ("preempt-delay", "5")),
        (("no-preempt", "yes"), ("preempt-delay", "0")),
    ],
)
def test_two_that_exclude_each_other(
    first: tuple[str, str], way: str, second: tuple[str, str], other: str, conf
) -> None:
    argv, environ = two(first, way, second, other, conf)
    error = refused([*argv, "-A"][1:], environ)
    assert type(error) is (UsageError if "command line" in (way, other) else ConfigError)
    assert re.search(rf"--{first[0]} \({way}.*--{second[0]} \({other}.*exclude each other", str(error))
    if first[0] == "no-preempt":
        assert parse([*argv, "-A", "--no-preempt=no"][1:], environ).preempt_delay == float(second[1])


def test_no_preempt_is_an_endless_delay() -> None:
    assert parse([*WATCH, "--no-preempt"], ENV).preempt_delay == math.inf


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        pytest.param("-p 10.0.0.2,10.0.0.2", "10.0.0.2 is listed twice", id="a peer twice"),
        pytest.param("-p 10.0.0.2 -p 10.0.0.2:12345", "twice", id="a peer twice, once with the default port"),
        pytest.param(f"-p 10.0.0.2={UUID} -p 10.0.0.3={UUID}", "one node twice", id="an instance twice"),
        pytest.param("-p 2001:db8::1 -p 2001:db8:0::1", "twice", id="a peer twice, in two notations"),
        pytest.param("-p 10.0.0.2 -p ::ffff:10.0.0.2", "twice", id="a peer twice, once mapped"),
        pytest.param(f"-p {EIP}", "address of its own", id="the Elastic IP as a peer"),
        pytest.param(f"-p 10.0.0.2 -l {EIP}:12345", "belongs to the Elastic IP", id="the Elastic IP bound"),
        pytest.param("-xi 2001:db8:0:1::1 -p 2001:db8:0:1::7", "address of its own", id="a peer in the prefix"),
        pytest.param(
            "-xi 2001:db8:0:1::/96 -p 2001:db8::7 -l [2001:db8:0:1::7]:9", "belongs to", id="one of the prefix bound"
        ),
        pytest.param("-p 2001:db8::1 -l 10.0.0.1:12345", "does not reach", id="IPv6 peer, IPv4 bound"),
        pytest.param("-p 10.0.0.2 -l [2001:db8::1]:12345", "does not reach", id="IPv4 peer, IPv6 bound"),
    ],
)
def test_addresses_that_do_not_go_together(words: str, needle: str) -> None:
    error = refused(WATCH + words.split(), without("IF_EXOSCALE_PEERS"))
    assert type(error) is UsageError
    assert needle in str(error)
    assert "(command line)" in str(error)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("2001:DB8:0:1:0::1", "2001:db8:0:1::1"),
        ("2001:db8:0:1::1/128", "2001:db8:0:1::1"),  # what ifupdown makes of an address without a length
        ("2001:db8:0:1::", "2001:db8:0:1::"),
        ("2001:db8:0:1:0::/96", "2001:db8:0:1::/96"),
        ("2001:db8:0:1::1/96", "2001:db8:0:1::1/96"),
        ("2001:db8::/64", "2001:db8::/64"),  # discovery rejects it, with the prefixes of the zone
    ],
)
def test_an_ipv6_elastic_ip_is_written_in_one_way(text: str, address: str) -> None:
    assert parse([*WATCH, "-xi", text], ENV).address == address
    assert parse(WATCH, ENV | {"IF_ADDRESS": text}).address == address


def test_heartbeats_of_either_family_go_with_either_elastic_ip() -> None:
    for eip in (EIP, "2001:db8:0:1::1"):
        for peer, bind in (("10.0.0.2", "10.0.0.1:1"), ("2001:db8::2", "[2001:db8::1]:1")):
            assert parse([*WATCH, "-xi", eip, "-p", peer, "-l", bind], without("IF_EXOSCALE_PEERS")).address == eip


def test_two_nodes_on_one_address_differ_by_port() -> None:
    assert len(parse([*WATCH, "-p", "127.0.0.1:1,127.0.0.1:2,127.0.0.1"], ENV).peers) == 3


def test_exchanged_key_and_secret_are_reported_without_either() -> None:
    error = refused([*WATCH, "-xk", SECRET, "-xs", "EXO0123"], ENV)
    assert "exchanged" in str(error)
    assert "EXO0123" not in str(error)
    assert "the same" in str(refused([*WATCH, "-xk", SECRET], ENV))


@pytest.mark.parametrize(("text", "runs_as"), [("0", 1), ("1", 1), ("252", 252), ("253", 252), ("255", 252)])
def test_a_reserved_priority_runs_with_a_warning(text: str, runs_as: int) -> None:
    config = parse([*WATCH, "-P", text], ENV)
    assert config.host_priority == runs_as
    if int(text) == runs_as:
        assert config.warnings == ()
        return
    (warning,) = config.warnings
    assert f"host-priority {text} (command line) runs as {runs_as}" in warning
    assert warning in describe(config)


def test_a_dead_ratio_of_one_lost_heartbeat_is_warned_of() -> None:
    assert "dead-ratio 1.5" in parse([*WATCH, "-r=1.5"], ENV).warnings[0]


# --- the secret ------------------------------------------------------------------------------------------------------


def test_nothing_but_reveal_shows_the_secret() -> None:
    config = parse(WATCH, ENV)
    shown = [repr(config), str(config), repr(config.api_secret), str(config.api_secret), f"{config.api_secret:}"]
    shown += [
        f"{config.api_secret}",
        repr(dataclasses.asdict(dataclasses.replace(config, sources={}))),
        describe(config),
    ]
    assert not [text for text in shown if SECRET in text]
    assert config.api_secret.reveal() == SECRET
    assert copy.copy(config).api_secret == config.api_secret
    assert config.api_secret != Secret("another") != SECRET


@pytest.mark.parametrize(
    "argv",
    [
        ["-xsSECRET"], ["--xsSECRET"], ["--exoscale-api-secretX=SECRET"], ["--exoscale-api-secretX", "SECRET"],
        ["--exoscale-api-secretSECRET"], ["-exoscale-api-secretSECRET"], ["-xs", "=", "SECRET"], ["SECRET"],
        ["-xs", "one", "SECRET"], ["-S", "SECRET"], ["--SECRET"], ["--SECRET=1"], ["-xs", "SECRET", "-P", "SECRET"],
        ["-xs", "SECRET", "-xi=SECRET"], ["-xs=SECRET", "-p", "10.0.0.2,SECRET"], ["-xs=SECRET", "-c", "SECRET"],
        ["-xs", "SECRET SECRET"], ["-xk", "SECRET,"], ["-xs=SECRET", "-xk=SECRET"], ["-xs=SECRET", "-xs="],
        ["-xe", "https://user:SECRET@api-ch-gva-2.exoscale.com/v2"], ["-xs=SECRET", "-v=SECRET"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_error_shows_the_secret(argv: list[str]) -> None:
    refused(WATCH + [word.replace("SECRET", SECRET) for word in argv], without("IF_EXOSCALE_API_SECRET"))


def test_nor_the_part_of_it_that_a_cut_leaves() -> None:
    for before in range(80):
        message = str(refused([*WATCH, "-p", "x" * before + SECRET + "x" * 80], ENV))
        assert SECRET[:5] not in message, before


def test_a_secret_that_does_not_win_is_not_shown_either(conf) -> None:
    winner, loser = [*WATCH, "-xs=winner"], without("IF_EXOSCALE_API_SECRET")
    path = conf(f"exoscale-api-secret = {SECRET}")
    assert "****" in str(refused([*winner, "-P", SECRET], ENV))
    assert "****" in str(refused([*winner, "-P", SECRET], loser | {"EXOSCALE_API_SECRET": SECRET}))
    assert "****" in str(refused([*winner, "-P", SECRET, "-c", path], loser))
    assert "****" in str(refused(["-xs", SECRET, *winner, "-P", SECRET], loser))


SECRET_NAMES = [option.name for option in OPTIONS if option.credential]


@pytest.mark.parametrize(("before", "equals"), [("", "="), (" ", " = ")])
@pytest.mark.parametrize("secret", SECRET_NAMES)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_line_without_its_break_shows_no_secret(name: str, secret: str, before: str, equals: str, conf) -> None:
    """As `echo 'auth-key = ...' >>file` makes one, if the file does not end with a line break."""
    path = conf(f"{name} = {SAMPLES[name][0][0]}{before}{secret}{equals}hidden-hidden-hidden\n")
    message = str(refused([*WATCH, "-c", path], {}))
    assert message.endswith(f"line 1: {name} runs on into {secret}: begin a new line there")


def test_the_name_of_a_secret_may_be_in_a_url_or_a_command(conf) -> None:
    lines = [
        "check-http = http://127.0.0.1/?auth-key=1&auth-key=2",
        "check-command = check --auth-key=1 -f /run/auth-key",
    ]
    parse([*WATCH, "-c", conf("\n".join(lines))], ENV)


@pytest.mark.parametrize("end", ["\r", "\u2028", "\x85", "\x1e"])
@pytest.mark.parametrize("name", [name for name in BAD if name not in SECRET_NAMES])
def test_of_several_lines_in_one_none_is_shown(name: str, end: str, conf) -> None:
    path = conf(f"{name} = ten{end}hidden")
    message = str(refused([*WATCH, "-c", path], without(*BY_NAME[name].variables, "IF_EXOSCALE_PEERS")))
    assert message.endswith(
        f"(not shown) (file {path}, line 1) must be on one line, without control characters or the name of a secret"
    )


@pytest.mark.parametrize("wrong", [name for name in BAD if name not in SECRET_NAMES])
def test_a_value_with_the_name_of_a_secret_in_it_is_not_shown(wrong: str) -> None:
    option = BY_NAME[wrong]
    for secret in SECRET_NAMES:
        for spelling in (secret, *BY_NAME[secret].spellings, *BY_NAME[secret].variables):
            for between in ("=", " ", " = ", ": "):
                text = f"{BAD[wrong][0]}{spelling}{between}hidden"
                message = str(refused([*WATCH, f"--{wrong}={text}"], without(*option.variables, "IF_EXOSCALE_PEERS")))
                assert "hidden" not in message, text


def test_no_text_of_the_library_about_a_value_is_shown() -> None:
    for url in ("http://[hidden]/", "http://user:[hidden]@a/", "http://a:hidden/", "http://user:hidden@a:x/"):
        message = str(refused([*WATCH, f"--exoscale-metadata-url={url}"], ENV))
        assert message.endswith("no usable host and port in it") or "no user or password" in message, message
    message = str(refused([*WATCH, "-xi", "1.2.3.4 " * 100], without("IF_ADDRESS")))
    assert message.endswith("/96: it is neither")


# --- help, version, -n -----------------------------------------------------------------------------------------------


def printed(argv: list[str]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as caught:
        parse(argv, {"IF_EXOSCALE_API_SECRET": SECRET})
    assert caught.value.code == 0
    return output.getvalue()


@pytest.mark.parametrize("word", ["--help", "-h", "-help", "--h"])
def test_help_needs_nothing_else_to_be_right(word: str) -> None:
    assert "usage: exoip" in printed(["--nonsense", word])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_help_shows_name_variable_default_and_unit(option) -> None:
    text = printed(["--help"])
    assert max(map(len, text.splitlines())) <= 120
    blocks = [" ".join(block.split()) for block in re.split(r"\n(?=  -)", text)]
    (block,) = (
        each
        for each in blocks
        if re.match(rf"{re.escape(option.usual)}(?![\w-])|-\w+, {re.escape(option.usual)}(?![\w-])", each)
    )
    facts = [option.help, *option.variables, option.credential or "", option.unit, option.metavar]
    if option.default:
        facts.append(f"default: {option.default}")
    for fact in facts:
        assert fact in block
    if option.kind is Kind.VALUE:
        assert option.default or option.otherwise


@pytest.mark.parametrize("word", ["--version", "-version"])
def test_version(word: str) -> None:
    assert printed(["-W", word]) == f"exoip {exoip.__version__}\n"


def test_the_table_says_what_each_option_decides() -> None:
    """What a reload cannot change, what voids a remembered topology, what is never shown."""

    def named(attribute: str, wanted: bool) -> str:
        return " ".join(each.name for each in OPTIONS if each.field and getattr(each, attribute) is wanted)

    assert named("reload", False) == (
        "address bind-address exoscale-instance-id exoscale-api-endpoint exoscale-zone exoscale-metadata-url "
        "metrics-listen control-socket log-stdout"
    )
    assert named("discovery", True) == (
        "address bind-address exoscale-peers exoscale-peer-group exoscale-instance-id exoscale-api-endpoint "
        "exoscale-zone exoscale-metadata-url"
    )
    assert named("secret", True) == "exoscale-api-secret auth-key"


def test_the_table_has_no_name_twice() -> None:
    spellings = [spelling for option in OPTIONS for spelling in option.spellings]
    variables = [variable for option in OPTIONS for variable in option.variables]
    assert len(set(spellings)) == len(spellings)
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.default and each.kind is Kind.VALUE])
def test_a_default_is_what_its_text_says(option) -> None:
    by_default, typed = parse(WATCH, ENV), parse([*WATCH, f"--{option.name}={option.default}"], ENV)
    assert dataclasses.replace(typed, sources={}) == dataclasses.replace(by_default, sources={})


def test_describe_says_each_value_and_its_source(conf) -> None:
    path = conf("dead-ratio = 4\n")
    config = parse(["-W", "-n", "-P=7", "-c", path, "-l", "[::]:9", f"-p=10.0.0.2:5={UUID},2001:db8::1"], ENV)
    assert config.check_config
    text = describe(config)
    assert text.isascii()
    table, end = text.split("\n\n")
    assert end == "the configuration is valid\n"
    rows = dict(line.strip().split(None, 1) for line in table.splitlines()[1:])
    for name, value, source in [
        ("mode", "watch", "command line"),
        ("address", EIP, "environment IF_ADDRESS"),
        ("host-priority", "7", "command line"),
        ("bind-address", "[::]:9", "command line"),
        ("exoscale-peers", f"10.0.0.2:5={UUID}, 2001:db8::1", "command line"),
        ("dead-ratio", "4 intervals", f"file {path}, line 1"),
        ("exoscale-zone", "(from the metadata service)", "default"),
        ("exoscale-api-secret", "****", "environment IF_EXOSCALE_API_SECRET"),
        ("exoscale-api-key", "EXOtest", "environment IF_EXOSCALE_API_KEY"),
        ("verbose", "no", "default"),
        ("config", path, "command line"),
    ]:
        assert re.fullmatch(rf"{re.escape(value)}\s+{re.escape(source)}", rows[name]), rows[name]
    assert set(rows) == {"mode"} | {each.name for each in OPTIONS if each.kind in (Kind.VALUE, Kind.FLAG)}
    assert "inf  " in describe(parse([*WATCH, "--no-preempt"], ENV))


# --- always ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"host_priority": 0}, {"host_priority": 253}, {"dead_ratio": 0.9}, {"dead_ratio": math.nan},
        {"advertisement_interval": 0.0}, {"advertisement_interval": math.inf}, {"preempt_delay": -1.0},
        {"preempt_delay": math.nan}, {"verify_interval": 0.0}, {"leave_timeout": -1.0}, {"peer_group": "web"},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_config_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(parse(WATCH, ENV), **change)


@pytest.mark.parametrize("arguments", [("web1", None, None), ("10.0.0.2", 0, None), ("10.0.0.2", 1, UUID.upper()),
                                       ("2001:DB8::1", None, None)])  # fmt: skip
def test_an_impossible_peer_cannot_be_made(arguments: tuple) -> None:
    with pytest.raises(ValueError, match=r"peer|name"):
        Peer(*arguments)


def test_a_config_does_not_change() -> None:
    config = parse(WATCH, ENV)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.address = "10.0.0.1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.sources["address"] = "nowhere"  # type: ignore[index]


NAMES = [option.name for option in OPTIONS]
TEXTS = st.sampled_from(
    [text for samples in SAMPLES.values() for text, _ in samples] + [text for texts in BAD.values() for text in texts]
) | st.text(st.characters(blacklist_categories=()), max_size=12)
WORDS = (
    st.sampled_from([spelling for option in OPTIONS for spelling in option.spellings])
    | st.builds("{}={}".format, st.sampled_from([each for option in OPTIONS for each in option.spellings]), TEXTS)
    | st.sampled_from([SECRET, f"-xs{SECRET}", f"--exoscale-api-secretX={SECRET}", f"-xs={SECRET}", f"={SECRET}"])
    | TEXTS
)
ENVIRONS = st.dictionaries(
    st.sampled_from([variable for option in OPTIONS for variable in option.variables])
    | st.sampled_from(["CREDENTIALS_DIRECTORY", "IF_EXOSCALE_NONSENSE"]),
    TEXTS,
    max_size=6,
)
LINES = st.builds("{}{}{}".format, st.sampled_from(NAMES) | TEXTS, st.sampled_from(["=", " = ", " ", ":"]), TEXTS)
CONTENTS = st.binary(max_size=40) | st.lists(LINES, max_size=5).map(
    lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(argv=st.lists(WORDS, max_size=8), environ=ENVIRONS, content=CONTENTS | st.none(), complete=st.booleans())
@pytest.mark.slow
def test_anything_gives_a_config_or_a_clear_refusal(
    argv: list[str], environ: dict[str, str], content: bytes | None, complete: bool
) -> None:
    # the secret is always given as one, whether it wins or not
    environ = (dict(ENV) if complete else {}) | environ | {"EXOSCALE_API_SECRET": SECRET}
    with tempfile.NamedTemporaryFile(suffix=".conf") as file, contextlib.redirect_stdout(io.StringIO()) as output:
        if content is not None:
            file.write(content)
            file.flush()
            argv = [*argv[:2], "-c", file.name, *argv[2:]]
        try:
            config = parse([*WATCH, *argv] if complete else argv, environ)
        except (ConfigError, SystemExit) as end:
            outcome: BaseException | None = end
        else:
            outcome = None
    if isinstance(outcome, SystemExit):
        assert outcome.code == 0
        assert "exoip" in output.getvalue()
        return
    if outcome:
        assert SECRET not in str(outcome)
        assert str(outcome).isprintable()
        return
    assert 1 <= config.host_priority <= 252
    assert 1 <= config.dead_ratio < math.inf
    assert 0.05 <= config.advertisement_interval <= 255
    assert bool(config.peers) + bool(config.peer_group) == 1 or config.mode is not Mode.WATCH
    if config.sources["exoscale-api-secret"] == "environment EXOSCALE_API_SECRET":
        assert config.api_secret.reveal() == environ["EXOSCALE_API_SECRET"].strip()
    assert re.search(r"^  exoscale-api-secret +\*{4} ", describe(config), re.MULTILINE)
    assert "api_secret=****" in repr(config)


@pytest.mark.parametrize(("url", "why"), [("http://u:p@a/?b", "no user or password"), ("http://a/#x", "no fragment")])
def test_a_url_to_check_may_have_a_query_so_no_error_denies_it(url: str, why: str) -> None:
    error = str(refused([*WATCH, f"--check-http={url}"], without("none")))
    assert why in error
    assert "query" not in error
