# Role: curation machine (ingest, annotate, select, validate) with the graph and the flows. No torch.
FROM python:3.11-slim-bookworm
WORKDIR /app
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt README.md ./
COPY mmada mmada
COPY flows flows
RUN pip install --no-cache-dir -c constraints.txt '.[curate,flows]'
COPY dvc.yaml params.yaml models.yaml ./
ENTRYPOINT ["mmada"]
