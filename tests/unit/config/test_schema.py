"""The reference and the JSON Schema are in step with the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from hubfleet.config.campus import Platform
from hubfleet.config.login import WAYS
from hubfleet.config.models import Config
from hubfleet.config.problems import inner_model
from hubfleet.config.providers import Oidc, Tapis
from hubfleet.config.schema import PAGE, SCHEMA, json_schema, main
from hubfleet.config.section import Section

REFERENCE = Path(__file__).parents[3] / "docs/reference"

# Settings that mean something beside another one only.
_WITH = {
    **{
        ("MachineSettings", name): {"ssh": "root@192.0.2.7"}
        for name in ("ssh_config", "ssh_key", "roles", "private_ip", "link_port")
    },
    ("OwnerOptions", "gid"): {"uid": 1000},
    ("Tas", "url"): {"account": "hub"},
    ("Tas", "account"): {"url": "https://tas.example.edu"},
    **{
        ("Ldap", name): {"url": "ldaps://ldap.example.edu", "base": "dc=edu"}
        for name in ("url", "base", "bind", "name")
    },
    **{("Projects", name): {"path": "/corral"} for name in ("directory", "service")},
    **{("GitHub", name): {"client_id": "a"} for name in ("callback", "host")},
    **{("Google", name): {"client_id": "a"} for name in ("callback", "host", "strip_domain", "groups")},
    **{("Globus", name): {"client_id": "a"} for name in ("callback", "host", "identity_provider")},
    **{
        ("CILogon", name): {"client_id": "a", "identity_providers": {"google": {"username_claim": "email"}}}
        for name in ("client_id", "callback", "host", "identity_providers")
    },
    ("IdentityProvider", "strip_domain"): {"username_claim": "eppn"},
    **{("Oidc", name): {"issuer": "https://login.example.edu", "client_id": "a"} for name in Oidc.model_fields},
    **{
        ("Directory", name): {"url": "ldaps://ldap.example.edu", "base": "dc=edu"}
        for name in ("url", "base", "bind", "name", "groups")
    },
    **{
        ("Platform", name): {
            "issuer": "https://a.example",
            "client_id": "a",
            "authorize_url": "https://a.example/auth",
            "jwks_url": "https://a.example/certs",
        }
        for name in Platform.model_fields
    },
    ("Directory", "template"): {"url": "ldaps://ldap.example.edu"},
    **{("Tapis", name): {"tenant": "designsafe"} for name in Tapis.model_fields},
    ("Https", "certificate"): {"key": "hub.key"},
    ("Https", "key"): {"certificate": "hub.pem"},
    ("Https", "ca_bundle"): {"acme": "https://ca.example.edu/acme/acme/directory"},
}


def _models(model: type[Section], seen: set[type[Section]]) -> Iterator[type[Section]]:
    if model not in seen:
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            if inner := inner_model(field)[0]:
                yield from _models(inner, seen)


def test_the_written_files_are_up_to_date(tmp_path: Path) -> None:
    main(tmp_path)
    for name in (PAGE, SCHEMA):
        assert (REFERENCE / name).read_text() == (tmp_path / name).read_text(), (
            "run: python -m hubfleet.config.schema docs/reference"
        )


def test_every_setting_is_described_with_examples_that_are_valid() -> None:
    for model in _models(Config, set()):
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.examples, f"{model.__name__}.{name}"
            base = {"hub": "a"} if model is Config else {"password": "file"} if model.__name__ == "Login" else {}
            if model.__name__ == "Login" and name in WAYS:
                base = {}
            base |= _WITH.get((model.__name__, name), {})
            for example in field.examples:
                model.model_validate({**base, name: example})


def test_every_example_line_of_the_page_is_yaml() -> None:
    lines = [line.strip() for line in (REFERENCE / PAGE).read_text().splitlines() if line.startswith("    ")]
    assert len(lines) > 30
    for line in lines:
        assert isinstance(YAML(typ="safe").load(line), dict), line


def test_the_schema_knows_both_forms_of_the_file() -> None:
    one, several = json_schema()["anyOf"]
    assert one["required"] == ["hub"]
    assert several["required"] == ["hubs"]
    assert "hub" not in json_schema()["$defs"]["Part"]["properties"]
