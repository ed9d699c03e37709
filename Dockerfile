# The images of the suite, one for each PART: serving, jobs, jobs-spark. docs/images.md says what each holds, how large
# it is and how it is built.

# Debian bookworm with its Python 3.11. Whoever ships an image pins this by digest.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS builder
ARG PART=serving
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN case "$PART" in serving|jobs|jobs-spark) ;; *) echo "PART is serving, jobs or jobs-spark" >&2; exit 1 ;; esac
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/regulars

# Wheels alone, each known by its hash. Of PySpark there is only a source archive, likewise known by its hash; it is
# built by what requirements/build.txt names. Which index they come from is a secret of the build, so that no layer
# knows it.
COPY requirements/build.txt requirements/${PART}.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    /build/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/build.txt && \
    /build/bin/pip wheel --quiet --require-hashes --no-deps --only-binary :all: --no-binary pyspark \
        --no-build-isolation --use-pep517 --wheel-dir /wheels -r requirements/${PART}.txt

COPY . .
RUN /build/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

# Bytecode that nothing checks against its source again: nobody can change either, and a copy may change their times.
RUN /build/bin/pip --python /opt/regulars/bin/python install --quiet --no-index --no-deps --no-compile /wheels/*.whl && \
    /opt/regulars/bin/python -m compileall -q -j 0 -x /tests/ --invalidation-mode unchecked-hash /opt/regulars/lib

FROM ${BASE}
ARG BASE
ARG PART=serving

# What wheels expect of the system: LightGBM an OpenMP runtime, Spark a Java and ps.
RUN case "$PART" in \
        serving) packages="" ;; \
        jobs) packages="libgomp1" ;; \
        jobs-spark) packages="libgomp1 openjdk-17-jre-headless procps" ;; \
    esac && \
    if [ -n "$packages" ]; then \
        apt-get update -q && \
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages && \
        rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/*; \
    fi

# No base's pip, and nothing that could unpack one. Bytecode of Python's own library, which some bases leave out. A user
# with a name, because Hadoop and MLflow ask for it.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/ensurepip \
        /usr/lib/python3.11/ensurepip /usr/share/python-wheels && \
    python3 -m compileall -q -j 0 -x '/tests?/' "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" && \
    echo 'regulars:x:10001:' >> /etc/group && \
    echo 'regulars:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd

COPY --from=builder /opt/regulars /opt/regulars

ENV PATH=/opt/regulars/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="regulars-${PART}" \
      org.opencontainers.image.description="Regulars scores customers: churn, propensity, lifetime value, segments." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["regulars"]
