#!/usr/bin/env python3
"""Checks the deployment files without running them, and the certificates by shaking hands.

usage: check.py --binary PATH/TO/almanac

The last line is `deployment: N passed, M failed`, and the exit code is 1 when any failed.
"""

import argparse
import concurrent.futures
import pathlib
import re
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import tomllib
import unittest

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
MANIFESTS = sorted(
    path for path in (HERE / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"
)
UNITS = sorted((HERE / "systemd").glob("almanac-*.*"))
JOBS = sorted((HERE / "jobs").glob("*.toml"))
LIMIT_SECONDS = 10
binary = pathlib.Path("almanac")


def resources() -> list[dict]:
    """Every Kubernetes resource of the manifests."""
    return [
        resource
        for path in MANIFESTS
        for resource in yaml.safe_load_all(path.read_text())
        if resource is not None
    ]


def pod_templates() -> list[dict]:
    found = []
    for resource in resources():
        if resource["kind"] == "CronJob":
            found.append(resource["spec"]["jobTemplate"]["spec"]["template"])
        elif "template" in resource.get("spec", {}):
            found.append(resource["spec"]["template"])
    return found


def selects(selector: dict, labels: dict) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


class Kubernetes(unittest.TestCase):
    def test_resources_are_valid(self):
        for resource in resources():
            kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)

    def test_kustomization_names_every_file(self):
        listed = yaml.safe_load((HERE / "kubernetes/kustomization.yaml").read_text())["resources"]
        self.assertEqual(sorted(listed), [path.name for path in MANIFESTS])

    def test_selectors_select_pods(self):
        pods = [template["metadata"]["labels"] for template in pod_templates()]
        for resource in resources():
            spec = resource.get("spec", {})
            selector = spec.get("selector") or spec.get("podSelector")
            if selector is None:
                continue
            selector = selector.get("matchLabels", selector)
            with self.subTest(resource["kind"], name=resource["metadata"]["name"]):
                self.assertTrue(selector, "selects everything")
                self.assertTrue(any(selects(selector, pod) for pod in pods), selector)

    def test_volumes_and_settings_are_there(self):
        kept = {r["metadata"]["name"] for r in resources() if r["kind"] == "ConfigMap"}
        claims = {
            claim["metadata"]["name"]
            for resource in resources()
            for claim in resource.get("spec", {}).get("volumeClaimTemplates", [])
        }
        for template in pod_templates():
            spec = template["spec"]
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            for volume in volumes.values():
                if "configMap" in volume:
                    self.assertIn(volume["configMap"]["name"], kept)
            for container in spec["containers"]:
                for mount in container["volumeMounts"]:
                    self.assertIn(mount["name"], volumes.keys() | claims)
                for source in container["envFrom"]:
                    if "configMapRef" in source:
                        self.assertIn(source["configMapRef"]["name"], kept)

    def test_pods_are_locked_down(self):
        for template in pod_templates():
            spec = template["spec"]
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertFalse(spec["automountServiceAccountToken"])
            for container in spec["containers"]:
                self.assertIn("memory", container["resources"]["limits"])
                self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
                self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})

    def test_no_secret_is_committed(self):
        self.assertNotIn("Secret", [resource["kind"] for resource in resources()])


class Compose(unittest.TestCase):
    compose = HERE / "compose.yaml"

    def test_it_is_valid(self):
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
        done = subprocess.run([*command, str(self.compose)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_secrets_and_volumes_are_declared_and_used(self):
        content = yaml.safe_load(self.compose.read_text())
        secrets, volumes = set(), set()
        for service in content["services"].values():
            for secret in service["secrets"]:
                secrets.add(secret if isinstance(secret, str) else secret["source"])
            for volume in service["volumes"]:
                source = volume.split(":")[0]
                if not source.startswith("."):
                    volumes.add(source)
        self.assertEqual(secrets, content["secrets"].keys())
        self.assertEqual(volumes, content["volumes"].keys())


class Systemd(unittest.TestCase):
    def test_units_are_valid(self):
        with tempfile.TemporaryDirectory() as folder:
            for unit in UNITS:
                text = unit.read_text().replace("/usr/local/bin/almanac", str(binary))
                (pathlib.Path(folder) / unit.name).write_text(text)
            copies = sorted(pathlib.Path(folder).iterdir())
            command = ["systemd-analyze", "verify", "--man=no", *map(str, copies)]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_units_know_the_variables_they_use(self):
        settings = (HERE / "systemd/almanac.env").read_text()
        known = set(re.findall(r"^([A-Z0-9_]+)=", settings, re.MULTILINE))
        for unit in UNITS:
            used = set(re.findall(r"\$\{([A-Z0-9_]+)\}", unit.read_text()))
            self.assertLessEqual(used, known, unit.name)


class CommandLines(unittest.TestCase):
    """The commands that the files give are commands that the binary has."""

    def commands(self) -> dict[str, list[str]]:
        """The arguments behind `almanac`, by where they stand."""
        found = {}
        for name, service in yaml.safe_load(Compose.compose.read_text())["services"].items():
            found[f"compose {name}"] = service["command"]
        for template in pod_templates():
            for container in template["spec"]["containers"]:
                found[f"kubernetes {container['name']}"] = container["args"]
        lines = [(unit.name, unit.read_text()) for unit in UNITS]
        lines.append(("crontab", (HERE / "crontab").read_text()))
        for name, text in lines:
            calls = re.findall(r"(?:^ExecStart=/usr/local/bin/|; )almanac (.*)$", text, re.MULTILINE)
            for place, call in enumerate(calls):
                found[f"{name} {place}"] = shlex.split(call)
        return found

    def help(self, *command: str) -> str:
        done = subprocess.run([binary, *command, "--help"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")
        return done.stdout

    def test_flags_are_known(self):
        commands = self.commands()
        self.assertGreaterEqual(len(commands), 11)
        for where, arguments in commands.items():
            with self.subTest(where):
                words = 2 if "cluster" in arguments else 1
                names = [word for word in arguments if not word.startswith("-")][:words]
                text = self.help(*names)
                for flag in (word for word in arguments if word.startswith("--")):
                    self.assertRegex(text, rf"(?m)^ *(-\w, )?{flag}\b")

    def test_job_files_name_arguments_of_their_command(self):
        texts = [path.read_text() for path in JOBS]
        for resource in resources():
            if resource["metadata"]["name"] == "almanac-jobs":
                texts += resource["data"].values()
        self.assertEqual(len(texts), 2)
        for text in texts:
            job = tomllib.loads(text)
            known = self.help(job["command"])
            for name in job["arguments"]:
                self.assertIn(f"--{name.replace('_', '-')} ", known)


class Certificates(unittest.TestCase):
    """What certificates.sh makes opens the door to its own cluster, and to no other."""

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(folder := tempfile.TemporaryDirectory())
        cls.folder = pathlib.Path(folder.name)
        cls.make("ours", "scheduler=localhost,127.0.0.1", "driver")
        cls.make("ours", "executor=127.0.0.1,*.executors.example")
        cls.make("theirs", "driver")

    @classmethod
    def make(cls, cluster: str, *processes: str):
        command = [HERE / "certificates.sh", cls.folder / cluster, *processes]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def context(self, purpose: int, cluster: str, process: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(purpose)
        context.load_verify_locations(self.folder / "ours/ca.pem")
        if purpose == ssl.PROTOCOL_TLS_SERVER:
            context.verify_mode = ssl.CERT_REQUIRED
        if process is not None:
            stem = self.folder / cluster / process
            context.load_cert_chain(f"{stem}.pem", f"{stem}-key.pem")
        return context

    def greet(self, client: ssl.SSLContext, host: str, server: str = "scheduler") -> tuple:
        """How a client fares at a server that wants certificates: what each side says of it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(LIMIT_SECONDS)
            serving = self.context(ssl.PROTOCOL_TLS_SERVER, "ours", server)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                served = pool.submit(serve, listener, serving)
                return visit(listener.getsockname(), client, host), served.result(LIMIT_SECONDS)

    def client(self, cluster: str = "ours", process: str | None = "driver") -> ssl.SSLContext:
        return self.context(ssl.PROTOCOL_TLS_CLIENT, cluster, process)

    def test_processes_of_a_cluster_know_each_other(self):
        met = (b"hello", None)
        for host in ("localhost", "127.0.0.1"):
            self.assertEqual(self.greet(self.client(), host), met)
        self.assertEqual(self.greet(self.client(process="executor"), "localhost"), met)
        self.assertEqual(self.greet(self.client(), "one.executors.example", "executor"), met)

    def test_a_server_under_another_name_is_refused(self):
        heard, _ = self.greet(self.client(), "elsewhere.example")
        self.assertIsInstance(heard, ssl.SSLCertVerificationError)

    def test_a_client_without_certificate_is_refused(self):
        heard, served = self.greet(self.client(process=None), "localhost")
        self.assertIsInstance(heard, OSError)
        self.assertIn("PEER_DID_NOT_RETURN_A_CERTIFICATE", str(served))

    def test_a_client_of_another_authority_is_refused(self):
        heard, served = self.greet(self.client("theirs"), "localhost")
        self.assertIsInstance(heard, OSError)
        self.assertIsInstance(served, ssl.SSLCertVerificationError)

    def test_keys_are_for_their_owner_only(self):
        keys = sorted(self.folder.glob("ours/*-key.pem"))
        self.assertEqual(len(keys), 4)
        for key in keys:
            self.assertEqual(key.stat().st_mode & 0o077, 0, key.name)


def visit(address: tuple, context: ssl.SSLContext, host: str) -> bytes | OSError:
    """What a server answers to a client, or why it does not."""
    try:
        with socket.create_connection(address, LIMIT_SECONDS) as plain:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                return secured.recv(5)
    except OSError as error:
        return error


def serve(listener: socket.socket, context: ssl.SSLContext) -> OSError | None:
    """Greets one client, or says why not."""
    plain, _ = listener.accept()
    with plain:
        plain.settimeout(LIMIT_SECONDS)
        try:
            with context.wrap_socket(plain, server_side=True) as secured:
                secured.sendall(b"hello")
        except OSError as error:
            return error
    return None


def main() -> int:
    global binary
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the built almanac")
    binary = parser.parse_args().binary.resolve()
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2).result
    # The parts of a test fail one by one, and are one test.
    failed = len({getattr(test, "test_case", test) for test, _ in result.failures + result.errors})
    print(f"deployment: {result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
