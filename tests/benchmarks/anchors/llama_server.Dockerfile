# llama.cpp's own server, built for the very machine, beside the runner's Python. Of the sources that the runner's
# Dockerfile names. Nothing of it is in the product.
ARG BASE=vcoin-base:trixie
ARG RUNNER
FROM ${BASE} AS server
ARG LLAMA_URL
ARG LLAMA_SHA256
COPY build/fetch.py /tmp/
RUN --mount=type=secret,id=ca \
    set -e; \
    apt-get -q update; \
    apt-get -q install -y --no-install-recommends g++ cmake ninja-build; \
    if [ -f /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    python3 /tmp/fetch.py "${LLAMA_URL}" "${LLAMA_SHA256}" /opt/llama.cpp; \
    cmake -G Ninja -S /opt/llama.cpp -B /tmp/b -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON \
        -DLLAMA_BUILD_NUMBER=0 -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_USE_PREBUILT_UI=OFF > /dev/null; \
    ninja -C /tmp/b llama-server; \
    cp /tmp/b/bin/llama-server /opt/; \
    rm -rf /tmp/b

FROM ${RUNNER}
USER 0:0
COPY --from=server /opt/llama-server /opt/llama-server
COPY --from=server /opt/llama.cpp/convert_hf_to_gguf.py /opt/convert/
COPY --from=server /opt/llama.cpp/conversion /opt/convert/conversion
COPY --from=server /opt/llama.cpp/gguf-py /opt/convert/gguf-py
# The converter imports it before it looks for the vocabulary of the kind that it reads, which this model has not.
RUN echo "SentencePieceProcessor = None" > /opt/convert/sentencepiece.py
