# The agents of a fleet, and the command line:
#   docker build -f images/agent.Dockerfile -t tfsdeploy/agent:VERSION .
# For several architectures: docker buildx build --platform linux/amd64,linux/arm64 ...
FROM python:3.11-slim-bookworm AS build
COPY pyproject.toml constraints.txt /src/
RUN python -c "import tomllib; project = tomllib.load(open('/src/pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['signing'], sep='\n')" > /needed \
 && pip install --no-cache-dir --prefix=/dependencies --constraint=/src/constraints.txt --requirement=/needed
COPY README.md LICENSE .dockerignore /src/
COPY images /src/images
COPY templates /src/templates
COPY tfsdeploy /src/tfsdeploy
RUN pip install --no-cache-dir --prefix=/product --no-deps /src
RUN mkdir -p /folders/run /folders/state /folders/models /folders/handed

FROM python:3.11-slim-bookworm
# Two layers: what changes with every line of code is the small one.
COPY --from=build /dependencies /usr/local
COPY --from=build /product /usr/local
# Docker gives a new volume the owner of the folder that it is first mounted over.
COPY --from=build --chown=65532:65532 /folders/run /run/tfsdeploy
COPY --from=build --chown=65532:65532 /folders/state /var/lib/tfsdeploy
COPY --from=build --chown=65532:65532 /folders/models /models
COPY --from=build --chown=65532:65532 /folders/handed /run/secrets/tfsdeploy
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["tfsdeploy"]
