# Role: machine that runs every stage (curation, tokenization, training, evaluation, site) with the graph and the flows.
# For CUDA, build FROM an image with a driver; torch's default wheel carries its own CUDA libraries.
FROM python:3.11-slim-bookworm
WORKDIR /app
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt README.md ./
COPY mmada mmada
COPY flows flows
RUN pip install --no-cache-dir -c constraints.txt '.[curate,train,flows,site]'
COPY dvc.yaml params.yaml models.yaml ./
ENTRYPOINT ["mmada"]
