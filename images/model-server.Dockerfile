# The embedded model server, which also goes by the name of the original:
#   docker build -f images/model-server.Dockerfile -t tfsdeploy/model-server:VERSION .
# For several architectures: docker buildx build --platform linux/amd64,linux/arm64 ...
FROM python:3.11-slim-bookworm AS build
COPY pyproject.toml constraints.txt /src/
RUN python -c "import tomllib; project = tomllib.load(open('/src/pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['server'], sep='\n')" > /needed \
 && pip install --no-cache-dir --prefix=/dependencies --constraint=/src/constraints.txt --requirement=/needed
COPY README.md LICENSE .dockerignore /src/
COPY images /src/images
COPY templates /src/templates
COPY tfsdeploy /src/tfsdeploy
RUN pip install --no-cache-dir --prefix=/product --no-deps /src \
 && ln -s tfsdeploy-model-server /product/bin/tensorflow_model_server

FROM python:3.11-slim-bookworm
# Two layers: what changes with every line of code is the small one.
COPY --from=build /dependencies /usr/local
COPY --from=build /product /usr/local
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["tfsdeploy-model-server"]
