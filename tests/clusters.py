"""Clusters: the servers that jobs are submitted to, on loopback; they run what they are given.

One speaks as much of Kubernetes' API as @kubernetes uses, the other of AWS Batch's. Each job runs
in a pod of `tests.pods`, and is kept to be counted.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.pods import Image, Pod, Ran

_THEN = "2026-01-01T00:00:00Z"
_JOBS = re.compile(r"/apis/batch/v1/namespaces/(?P<namespace>[^/]+)/jobs(?:/(?P<name>[^/?]+))?")
_PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods\?.*job-name%3D(?P<job>[^&]+)")


@dataclass
class Job:
    """What was submitted, and what came of it once that is known."""

    name: str
    image: str
    command: list[str]
    env: dict[str, str]
    asked: dict[str, Any]
    ran: Ran | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


class Cluster:
    """Run each job in a pod of its own; `given` is what the cluster adds to its environment."""

    def __init__(self, image: Image, folder: Path, given: dict[str, str]) -> None:
        self.jobs: list[Job] = []
        self.requests: list[str] = []
        self.url = ""
        self._image = image
        self._folder = folder
        self._given = given
        self._lock = threading.Lock()

    def submit(self, image: str, command: list[str], env: dict[str, str], asked: Any) -> Job:
        with self._lock:
            job = Job(f"job-{len(self.jobs)}", image, command, env, asked)
            self.jobs.append(job)
        job.thread = threading.Thread(target=self._run, args=(job,))
        job.thread.start()
        return job

    def job(self, name: str) -> Job:
        return next(job for job in self.jobs if job.name == name)

    def _run(self, job: Job) -> None:
        pod = Pod(self._image, self._folder / job.name, {**self._given, **job.env})
        job.ran = pod.run(*job.command)

    @contextmanager
    def running(self) -> Iterator[Cluster]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (self.handler(),), {}))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            for job in self.jobs:
                assert job.thread is not None
                job.thread.join()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what has Metaflow submit its jobs here."""
        raise NotImplementedError

    def handler(cluster) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def pass_on(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                cluster.requests.append(f"{self.command} {self.path}")
                status, value = cluster.answer(
                    self.command, self.path, json.loads(data) if data else None
                )
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = pass_on

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler


class Kubernetes(Cluster):
    def environment(self) -> dict[str, str]:
        path = self._folder / "kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        path.write_text(json.dumps(config))
        return {"KUBECONFIG": str(path)}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        jobs, pods = _JOBS.match(path), _PODS.match(path)
        if jobs and method == "POST":
            (container,) = body["spec"]["template"]["spec"]["containers"]
            env = {one["name"]: str(one.get("value", "here")) for one in container["env"]}
            job = self.submit(container["image"], container["command"], env, body)
            return 201, self._described(job, jobs["namespace"])
        if jobs and jobs["name"]:
            return 200, self._described(self.job(jobs["name"]), jobs["namespace"])
        if pods:
            items = [self._pod(self.job(pods["job"]), pods["namespace"])]
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return 404, {"kind": "Status", "message": f"{method} {path} is not known here"}

    def _described(self, job: Job, namespace: str) -> dict[str, Any]:
        status: dict[str, Any] = {"active": 1}
        if job.ran is not None:
            status = {"succeeded": 1} if job.ran.code == 0 else {"failed": 1}
        metadata = {"name": job.name, "namespace": namespace, "uid": job.name}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {**job.asked["spec"], "parallelism": 1},
            "status": status,
        }

    def _pod(self, job: Job, namespace: str) -> dict[str, Any]:
        phase, state = "Running", {"running": {"startedAt": _THEN}}
        if job.ran is not None:
            phase = "Failed" if job.ran.code else "Succeeded"
            reason = "Error" if job.ran.code else "Completed"
            times = {"startedAt": _THEN, "finishedAt": _THEN}
            state = {"terminated": {"exitCode": job.ran.code, "reason": reason, **times}}
        container = {
            "name": "main",
            "image": job.image,
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        return {
            "metadata": {"name": f"{job.name}-pod", "namespace": namespace},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": phase, "containerStatuses": [container]},
        }


class Batch(Cluster):
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_BATCH": self.url,
            "METAFLOW_BATCH_JOB_QUEUE": "queue",
            "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": "arn:aws:iam::123456789012:role/tasks",
        }

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        verb = path.rpartition("/")[2]
        if verb == "describejobqueues":
            order = [{"order": 1, "computeEnvironment": "here"}]
            queue = {"jobQueueName": "queue", "state": "ENABLED", "status": "VALID"}
            return 200, {"jobQueues": [{**queue, "computeEnvironmentOrder": order}]}
        if verb == "describecomputeenvironments":
            environment = {"computeEnvironmentName": "here", "computeResources": {"type": "EC2"}}
            return 200, {"computeEnvironments": [environment]}
        if verb == "describejobdefinitions":
            return 200, {"jobDefinitions": []}
        if verb == "registerjobdefinition":
            self._image_asked = body["containerProperties"]["image"]
            arn = "arn:aws:batch:us-east-1:123456789012:job-definition/here:1"
            return 200, {"jobDefinitionName": "here", "jobDefinitionArn": arn, "revision": 1}
        if verb == "submitjob":
            asked = body["containerOverrides"]
            env = {one["name"]: one["value"] for one in asked["environment"]}
            given = {
                "AWS_BATCH_JOB_ID": "here",
                "AWS_BATCH_JOB_ATTEMPT": "1",
                "AWS_BATCH_CE_NAME": "here",
                "AWS_BATCH_JQ_NAME": "queue",
                "AWS_EXECUTION_ENV": "here",
            }
            job = self.submit(self._image_asked, asked["command"], {**given, **env}, body)
            return 200, {"jobId": job.name, "jobName": body["jobName"]}
        if verb == "describejobs":
            return 200, {"jobs": [self._described(self.job(name)) for name in body["jobs"]]}
        return 404, {"message": f"{path} is not known here"}

    def _described(self, job: Job) -> dict[str, Any]:
        now = int(time.time() * 1000)
        described = {
            "jobId": job.name,
            "jobName": job.asked["jobName"],
            "jobQueue": "queue",
            "jobDefinition": "here",
            "createdAt": now,
            "startedAt": now,
            "status": "RUNNING",
            "container": {},
        }
        if job.ran is not None:
            described["status"] = "FAILED" if job.ran.code else "SUCCEEDED"
            described["stoppedAt"] = now
            described["container"] = {"exitCode": job.ran.code}
        return described
