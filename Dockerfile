# The service: `docker build -t shotsmith .`; docs/howto/container.md says how to run it. Continuous integration does not
# build this image.
FROM python:3.11-slim

# The CPU build of torch; --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 takes one for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    SHOTSMITH_CACHE=/cache \
    SHOTSMITH_PORT=8000 \
    HF_HUB_OFFLINE=1

# What is needed changes seldom, the code often: the layers are in that order.
WORKDIR /build
COPY constraints.txt bundled.txt ./
RUN grep -E '^torch==' constraints.txt > torch.txt \
    && pip install --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple -r torch.txt -c constraints.txt \
    && pip install --no-deps -r bundled.txt
COPY pyproject.toml README.md LICENSE ./
COPY selector selector
COPY envs envs
COPY policies policies
RUN pip install -c constraints.txt '.[serve,onnx]' \
    && rm -rf /build \
    && useradd --create-home --uid 10001 shotsmith \
    && install -d -o shotsmith -g shotsmith /cache

WORKDIR /home/shotsmith
USER shotsmith
VOLUME /cache
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['SHOTSMITH_PORT']}/healthz\", timeout=4)"]

# The service listens on this container's own loopback unless the arguments say --host 0.0.0.0.
ENTRYPOINT ["shotsmith", "serve"]
CMD ["--help"]
