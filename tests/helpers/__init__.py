"""What several test modules share; nothing here is a test.

Projects and the template
- `repository`: git, and this repository as the releases of the template.
- `template`: the questions, the pins and the frameworks of the working tree.
- `project`: a project that the template renders; uv in it, and Copier's command.
- `files`: read, parse, write and change the files of a folder.
- `parsed`: a file as data, for the rows of `tests/guards.py`
.
Cases as data
- `answers`: right and wrong answers to each question.
- `edits`: what people edit in a project.
- `future_releases`: what later releases may change in the template.
- `shapes`: existing services that can be adopted
.
Updates
- `updates`: projects of every release, and what an update must make of them.
- `quick`: Copier that clones and compiles each release once, for them alone
.
Engines and containers
- `engine`: a Docker engine and its containers.
- `podman`: Podman and Buildah.
- `image`: base images, the one date of files, an empty package cache, traces of secrets.
- `service`: what is sent to a service, and the broker beside one.
- `load`: the client under whose requests a service is stopped (a program).
- `cluster`: what a project gives to a cluster
.
Servers and programs
- `programs`: run a program and show what it printed; what to do where one is missing.
- `pipelines`: each host's pipeline, run on this machine; registries.
- `listeners`: programs that listen on loopback; a proxy.
- `package_index`: a private package index, which `serve_index` (a program) serves.
- `git_server`: a git server over HTTPS and over SSH.
- `terminal`: a program in a terminal of 80 columns.
"""
