# Two images of one build: `--target api` and `--target worker`. `--build-arg DEVICE=cpu|cuda` chooses the torch wheel;
# PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS say where pip looks (docs/deployment.md).

FROM python:3.11-slim AS requirements
# What is to be installed, in a stage of its own: the large layer below is built again only when this list changes,
# not whenever pyproject.toml does.
WORKDIR /build
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    open('requirements.txt', 'w').write('\n'.join(project['dependencies']) + '\n')"

FROM python:3.11-slim AS dependencies
ARG DEVICE=cpu
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
WORKDIR /build
COPY constraints.txt ./
COPY --from=requirements /build/requirements.txt ./
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip ranks a CPU wheel (2.13.0+cpu) above the default one, so it takes it wherever it is told of one;
# for cuda that wheel is ruled out.
RUN case "$DEVICE" in \
      cpu) ;; \
      cuda) sed -i 's/^\(torch==\([^ ;,]*\)\)/\1,!=\2+cpu/' requirements.txt ;; \
      *) echo "DEVICE is cpu or cuda, not '$DEVICE'" >&2; exit 2 ;; \
    esac \
 && python -m venv --without-pip /opt/posneg \
 && pip --python /opt/posneg/bin/python install --requirement requirements.txt

FROM dependencies AS package
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY models models
COPY service service
# Below a root of its own, so that a change of the source makes a layer of its size, not of torch's.
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && pip --python /opt/posneg/bin/python install --no-deps --root /package /wheels/*.whl

FROM python:3.11-slim AS runtime
# The number is fixed so that a volume's owner stays the same from image to image.
RUN groupadd --gid 10001 posneg \
 && useradd --uid 10001 --gid posneg --no-create-home --home-dir /data --shell /usr/sbin/nologin posneg \
 && install --directory --owner posneg --group posneg /data
COPY --from=dependencies /opt/posneg /opt/posneg
COPY --from=package /package/opt/posneg /opt/posneg
ENV PATH=/opt/posneg/bin:$PATH PYTHONUNBUFFERED=1 POSNEG_DATA=/data
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["posneg"]

FROM runtime AS worker
# It listens nowhere: its heartbeat stands in `GET /v1/workers`.
CMD ["worker"]

FROM runtime AS api
ENV POSNEG_HOST=0.0.0.0 POSNEG_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"POSNEG_PORT\"]}/livez', timeout=4)"]
CMD ["serve", "--no-worker"]
