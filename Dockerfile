# natss-dispatcher and natss-provisioner on python:3.13-slim. Everything is pinned by hash in the
# requirement files. `make image` builds it and fills in the labels.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_QUIET=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements.txt tools/setuptools-requirements.txt tools/sbom-requirements.txt ./
# Wheels alone, for there is no compiler; nkeys, which is pure Python, is published as source.
RUN pip install --require-hashes --only-binary=:all: -r setuptools-requirements.txt \
    && python -m venv /sbom \
    && /sbom/bin/pip install --require-hashes --only-binary=:all: -r sbom-requirements.txt \
    && pip wheel --wheel-dir /wheels --require-hashes --no-build-isolation \
        --only-binary=:all: --no-binary=nkeys -r requirements.txt
COPY . .
# Code is compiled now, for a pod can write nothing; and unlike pip does it, so that the result does
# not depend on the time of the build.
RUN pip wheel --wheel-dir /wheels --no-deps --no-build-isolation . \
    && python -m venv --without-pip /opt/natss-channel \
    && pip --python /opt/natss-channel/bin/python install --no-compile \
        --no-index --find-links /wheels natss-channel \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/natss-channel \
    && /sbom/bin/python -m tools.sbom /opt/natss-channel requirements.txt /wheels > /natss-channel.cdx.json

FROM python:3.13-slim
COPY --from=build /opt/natss-channel /opt/natss-channel
# What that is made of; the base image has its own contents.
COPY --from=build /natss-channel.cdx.json /usr/share/sbom/natss-channel.cdx.json
ENV PATH=/opt/natss-channel/bin:$PATH
# Any other user that is not root will do as well: this one owns and writes nothing.
USER 65532:65532
EXPOSE 8080 8081
CMD ["natss-dispatcher"]
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="natss-channel" \
      org.opencontainers.image.description="NATS Streaming as a channel of Knative: natss-dispatcher and natss-provisioner" \
      org.opencontainers.image.licenses="Apache-2.0" \
      natss-channel.sbom="/usr/share/sbom/natss-channel.cdx.json" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
