# The server, in two stages: one with compilers, and one without. compose.yaml runs it with all that it needs.
FROM python:3.13-slim-trixie AS build

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libmemcached-dev zlib1g-dev
WORKDIR /srv/llama-chatbot
COPY requirements.txt ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --requirement requirements.txt

FROM python:3.13-slim-trixie

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmemcached11t64 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /srv/llama-chatbot --shell /usr/sbin/nologin llama \
    && install --directory --owner=llama --group=llama /data
WORKDIR /srv/llama-chatbot
COPY --from=build /srv/llama-chatbot/.venv .venv
COPY . .
# Settings come from the environment. /data is for SQLite: DATABASE_URL=sqlite:////data/db.sqlite3
ENV PATH=/srv/llama-chatbot/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LLAMA_CHATBOT_ENV_FILE=""
RUN python -m compileall -q -x "^./.venv" .

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live/', timeout=2)"]
CMD ["uvicorn", "llama_chatbot.asgi:application", "--host", "0.0.0.0", "--port", "8000", \
    "--timeout-graceful-shutdown", "20"]
