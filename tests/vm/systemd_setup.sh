# Inside the guest's root, before it is a disk: hubfleet as `make venv` installs it, and the environments of hub `guest`.
cd /opt/hubfleet
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --require-hashes -r requirements/cli.txt
.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
grep -o "^\(requests\|websocket-client\|charset-normalizer\|idna\|urllib3\|certifi\)==[^ ]*" requirements/dev.txt > /tmp/names
.venv/bin/python -m pip install --quiet -r /tmp/names
mkdir -p -m 755 /var/lib/hubfleet /var/lib/hubfleet/guest /var/lib/hubfleet/guest/environments
cd /root
echo "hub: guest" > hubfleet.yaml
/opt/hubfleet/.venv/bin/python -c "
from hubfleet.agent import converge as agent
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.reading import Options
for _, change in open_deployment(Options(), detach=True).plan().changes:
    if change.resource.kind == \"environment\":
        agent.apply(change, print)
"
