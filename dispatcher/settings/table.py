"""Every setting of the dispatcher, declared once: flag, environment variable, kind and meaning.

Defaults and reasons stand at the fields that these name (``settings.py``, ``limits.py``,
``natss.contract.resources``). Variables have the names of the Go program's where it had the
setting, otherwise names in the same style.
"""

from dispatcher.settings.kinds import DEAD_LETTER_URI, MINUTES, NETWORKS, argument
from dispatcher.stores.nats_streaming.settings import CLIENT_ID, CLUSTER_ID, SERVERS
from natss.contract.names import is_dns_label, is_dns_name
from natss.process.kinds import (
    ADDRESS,
    FILE,
    PATH,
    SWITCH,
    choice,
    duration,
    named,
    size,
    text,
    whole,
)
from natss.process.logs import LogFormat, LogLevel
from natss.process.settings import Option, Section

CHANNELS = Section(
    "Channels",
    (
        Option(
            "source.channels",
            "--channels",
            PATH,
            "file or folder with Channel and Subscription documents (YAML or JSON), watched;"
            " may be given more than once, in the variable with : between",
            repeatable=True,
        ),
        Option(
            "source.kubernetes",
            "--kubernetes",
            SWITCH,
            "take the Channels of the cluster, with their spec.subscribable, from the Kubernetes"
            " API; outside of a pod by KUBECONFIG or ~/.kube/config",
            default="on in a pod without --channels",
        ),
        Option(
            "source.state_dir",
            "--state-dir",
            PATH,
            "folder for what a restart must not forget: the Channels that the API told last; with"
            " --channels, which durables there are and who is stuck since when",
        ),
        Option(
            "source.channel_epochs",
            "--channel-epochs",
            SWITCH,
            "whether new Channels of the cluster store their events under a subject of their own,"
            " so that whoever has their namespace and name later cannot read them",
        ),
        Option(
            "source.cluster_domain",
            "--cluster-domain",
            named(is_dns_name, "a DNS name", "DOMAIN"),
            "end of every DNS name in the cluster",
        ),
        Option(
            "source.system_namespace",
            "--system-namespace",
            named(is_dns_label, "the name of a namespace", "NAMESPACE"),
            "namespace of the dispatcher; a bare name in --dead-letter-uri is a Service in it",
        ),
    ),
)

NATS = Section(
    "NATS Streaming",
    (
        Option(
            "nats.servers",
            "--natss-url",
            SERVERS,
            "where NATS is; may have user:password@ or token@, which is never shown; several"
            " servers of one cluster with commas between",
            env="DEFAULT_NATSS_URL",
            default="nats://nats-streaming.natss.svc.CLUSTER_DOMAIN:4222",
            secret=True,
        ),
        Option(
            "nats.cluster_id",
            "--cluster-id",
            CLUSTER_ID,
            "the server's cluster id",
            env="DEFAULT_CLUSTER_ID",
        ),
        Option(
            "nats.client_id",
            "--client-id",
            CLIENT_ID,
            "the durables belong to it: under another one, backlogs are not found",
        ),
        Option(
            "nats.user",
            "--natss-user",
            text(r"\S+", "a user's name", "USER"),
            "user, with --natss-password-file",
        ),
        Option(
            "nats.password_file",
            "--natss-password-file",
            FILE,
            "file with the password of the user",
        ),
        Option("nats.token_file", "--natss-token-file", FILE, "file with a token"),
        Option(
            "nats.credentials_file",
            "--natss-credentials-file",
            FILE,
            "file with JWT and seed (.creds)",
        ),
        Option(
            "nats.nkey_seed_file", "--natss-nkey-seed-file", FILE, "file with the seed of an nkey"
        ),
        Option(
            "nats.tls_ca_file",
            "--natss-tls-ca-file",
            FILE,
            "authorities (PEM) that may sign the server's certificate, instead of the"
            " system's; with it TLS is required",
        ),
        Option(
            "nats.tls_cert_file",
            "--natss-tls-cert-file",
            FILE,
            "certificate (PEM) that is shown to the server",
        ),
        Option("nats.tls_key_file", "--natss-tls-key-file", FILE, "key (PEM) of that certificate"),
        Option(
            "nats.tls_hostname",
            "--natss-tls-hostname",
            text(r"[A-Za-z0-9.:_-]+", "a host name", "NAME"),
            "name in the subjectAltName of the server's certificate, if it is not that of the URL",
        ),
        Option(
            "nats.connect_timeout",
            "--natss-connect-timeout",
            duration(0.1, 60),
            "for each of TCP, TLS and the first answer",
        ),
    ),
)

INGRESS = Section(
    "Publishers (HTTP in)",
    (
        Option("listen", "--listen", ADDRESS, "where events are taken"),
        Option(
            "ingress.max_connections",
            "--max-connections",
            whole(1),
            "connections at once; for a further one the longest idle is closed, and without an"
            " idle one the answer is 503",
        ),
        Option(
            "ingress.max_connections_per_address",
            "--max-connections-per-address",
            whole(1),
            "those of one IP address, by the same rule; a proxy is one address",
            default="nine tenths of --max-connections",
        ),
        Option(
            "ingress.max_header_bytes",
            "--max-header-bytes",
            size(1024),
            "request line and headers of a request; more is answered 431",
        ),
        Option(
            "ingress.max_body_bytes",
            "--max-body-bytes",
            size(1),
            "body of a request; more is answered 413, as is what NATS does not take",
        ),
        Option(
            "ingress.max_buffered_bytes",
            "--max-buffered-bytes",
            size(1024),
            "events in memory at once, a quarter of it for those that NATS Streaming has not"
            " confirmed; beyond it the answer is 503",
        ),
        Option(
            "ingress.max_pipelined",
            "--max-pipelined",
            whole(1, 1024),
            "requests of a connection that wait for their answers",
        ),
        Option(
            "ingress.header_timeout",
            "--header-timeout",
            duration(),
            "until the headers of a request are there; then 408",
        ),
        Option(
            "ingress.body_timeout",
            "--body-timeout",
            duration(),
            "without a byte of a body; then 408, as is a body that takes longer in all and comes"
            " with less than 500 bytes a second",
        ),
        Option(
            "ingress.keepalive_timeout",
            "--keepalive-timeout",
            duration(),
            "between two requests of a connection",
        ),
        Option(
            "ingress.answer_timeout",
            "--answer-timeout",
            duration(),
            "until an event is stored; then 503",
        ),
        Option(
            "ingress.drain_timeout",
            "--drain-timeout",
            duration(0),
            "that stopping waits for what has begun",
        ),
    ),
)

DELIVERY = Section(
    "Delivery, unless spec.arguments of a Channel say otherwise",
    (
        Option(
            "delivery.policy.ack_wait",
            "--ack-wait",
            argument("ackWait", "DURATION"),
            "after it NATS Streaming sends again what is not acknowledged; whole seconds",
            go_env=("ACK_WAIT_MINUTES", MINUTES),
        ),
        Option(
            "delivery.policy.max_inflight",
            "--max-inflight",
            argument("maxInflight", "N"),
            "events on the way to one subscriber at once",
        ),
        Option(
            "delivery.policy.timeout",
            "--timeout",
            argument("timeout", "DURATION"),
            "of one attempt; shorter than --ack-wait",
            env="DELIVERY_TIMEOUT",
        ),
        Option(
            "delivery.policy.retry",
            "--retry",
            argument("retry", "N"),
            "how often a failed attempt is repeated before the event is left to be sent again",
            env="DELIVERY_RETRY",
        ),
        Option(
            "delivery.policy.backoff_delay",
            "--backoff-delay",
            argument("backoffDelay", "DURATION"),
            "before a retry, times n (linear) or 2^n (exponential) for the nth",
            env="DELIVERY_BACKOFF_DELAY",
        ),
        Option(
            "delivery.policy.backoff_policy",
            "--backoff-policy",
            argument("backoffPolicy", "linear|exponential"),
            "how the wait grows",
            env="DELIVERY_BACKOFF_POLICY",
        ),
        Option(
            "delivery.policy.max_redeliveries",
            "--max-redeliveries",
            argument("maxRedeliveries", "N"),
            "how often NATS Streaming sends an event again before it goes to the dead letter"
            " sink, if there is one",
            env="DELIVERY_MAX_REDELIVERIES",
        ),
        Option(
            "delivery.policy.dead_letter_uri",
            "--dead-letter-uri",
            DEAD_LETTER_URI,
            "where events go that cannot be delivered; without it they are tried until they"
            " expire in the store",
        ),
        Option(
            "delivery.policy.start",
            "--start",
            argument("start", "START"),
            "where a new subscriber starts: new, first, last, a sequence, a time as"
            ' 2024-05-01T12:00:00Z, or "1h ago"',
            env="DELIVERY_START",
        ),
        Option(
            "delivery.policy.order",
            "--order",
            argument("order", "none|channel"),
            "channel: one event at a time, in order",
            env="DELIVERY_ORDER",
        ),
        Option(
            "delivery.max_subscribers",
            "--max-subscribers",
            whole(1, 100_000),
            "subscribers of one channel that are served; the others are told so in status, and keep"
            " the durables that they have",
        ),
        Option(
            "delivery.removal_grace",
            "--removal-grace",
            duration(0, 30 * 86400),
            "how long the durable of a removed subscriber is kept, in case it comes back",
        ),
        Option(
            "delivery.stuck_after",
            "--stuck-after",
            duration(),
            "failing for so long, a subscriber is reported as stuck",
        ),
    ),
)

EGRESS = Section(
    "Subscribers (HTTP out)",
    (
        Option(
            "egress.max_connections_per_origin",
            "--egress-max-connections-per-origin",
            whole(1),
            "connections to one scheme, host and port; further requests wait",
        ),
        Option(
            "egress.max_connections",
            "--egress-max-connections",
            whole(1),
            "connections to all of them; one has no more than are left for others",
        ),
        Option(
            "egress.max_idle_per_origin",
            "--egress-max-idle-per-origin",
            whole(0),
            "idle connections kept for one origin",
        ),
        Option(
            "egress.idle_timeout",
            "--egress-idle-timeout",
            duration(),
            "after it an idle connection is closed",
        ),
        Option(
            "egress.max_age",
            "--egress-max-age",
            duration(),
            "after it a connection is not used again, so that DNS changes are seen",
        ),
        Option(
            "egress.connect_timeout",
            "--egress-connect-timeout",
            duration(),
            "for name, TCP and TLS together",
        ),
        Option(
            "egress.denied_networks",
            "--egress-deny",
            NETWORKS,
            "addresses that no subscriber, reply or dead letter sink may have, or none",
            default="link-local and metadata addresses, with --kubernetes=on also loopback",
        ),
        Option(
            "egress.max_response_bytes",
            "--egress-max-response-bytes",
            size(0),
            "body of an answer, also once it is decoded; more cannot become a reply",
        ),
        Option(
            "egress.max_response_header_bytes",
            "--egress-max-response-header-bytes",
            size(1024),
            "status line and headers of an answer; more fails the attempt",
        ),
        Option(
            "delivery.max_buffered_bytes",
            "--egress-max-buffered-bytes",
            size(1024 * 1024),
            "events in memory at once, of all subscriptions, with their deliveries and long"
            " answers; the rest waits in the store",
        ),
        Option(
            "delivery.tls_ca_file",
            "--egress-tls-ca-file",
            FILE,
            "authorities (PEM) trusted besides the system's",
        ),
    ),
)

ADMIN = Section(
    "Admin server and logging",
    (
        Option(
            "admin_listen",
            "--admin-listen",
            ADDRESS,
            "where /healthz, /readyz, /metrics and /status are",
        ),
        Option(
            "log.format",
            "--log-format",
            choice(LogFormat),
            "auto: for people on a terminal, else JSON",
        ),
        Option("log.level", "--log-level", choice(LogLevel), "least severity that is logged"),
    ),
)

SECTIONS = (CHANNELS, NATS, INGRESS, DELIVERY, EGRESS, ADMIN)
