# One image for every role: `streamrec worker`, `streamrec topics apply`, `streamrec produce`. No torch, no Java, no compiler.
# Base images are pinned by tag; a release should add their digests (`docker buildx imagetools inspect` prints them).

FROM python:3.11.15-slim-trixie AS wheel
WORKDIR /src
RUN pip install --no-cache-dir hatchling==1.33.0
COPY pyproject.toml README.md LICENSE ./
COPY streamrec/ streamrec/
COPY topics/ topics/
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11.15-slim-trixie AS packages
COPY requirements/serve.lock /serve.lock
# The dependencies come first: a change of our own code keeps this layer.
RUN python -m venv --without-pip /opt/streamrec \
 && pip --python /opt/streamrec/bin/python install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r /serve.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/streamrec/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
 && pip --python /opt/streamrec/bin/python check \
 && ln -s lib/python3.11/site-packages/streamrec/demo /opt/streamrec/demo

FROM python:3.11.15-slim-trixie
LABEL org.opencontainers.image.title="streamrec" \
      org.opencontainers.image.description="Kafka events in, recommendations and explanations out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /opt/streamrec /opt/streamrec
# One thread for OpenMP: pods scale by partitions, and threads of one pod would only fight over its core.
# Two malloc arenas: with more, a long-lived Python process on many cores grows by fragmentation.
ENV PATH=/opt/streamrec/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    OMP_NUM_THREADS=1
# The root file system may be read-only; only /tmp is written.
WORKDIR /tmp
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 6066
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamrec"]
CMD ["worker", "--role", "all"]
