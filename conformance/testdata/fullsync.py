"""Makes a zone equal to a file, as octoDNS does: by one AXFR and one update.

Arguments: address, port, zone, and of the key its name, algorithm and secret; the file.
The SOA record and the NS records of the apex stay as they are.
"""
import sys

import dns.query
import dns.rdatatype
import dns.tsigkeyring
import dns.update
import dns.zone

address, port, origin, key, algorithm, secret, file = sys.argv[1:]
keyring = dns.tsigkeyring.from_text({key: secret})
there = dns.zone.from_xfr(dns.query.xfr(
    address, origin, port=int(port), keyring=keyring, keyname=key, keyalgorithm=algorithm))
wanted = dns.zone.from_file(file, origin, relativize=True, check_origin=False)


def sets(zone):
    """The sets of a zone that are the file's to name."""
    return {
        (name, rdataset.rdtype): rdataset
        for name, rdataset in zone.iterate_rdatasets()
        if rdataset.rdtype != dns.rdatatype.SOA
        and (rdataset.rdtype != dns.rdatatype.NS or name != dns.name.empty)
    }


def differ(a, b):
    return a.ttl != b.ttl or set(a) != set(b)


have, want = sets(there), sets(wanted)
update = dns.update.Update(origin, keyring=keyring, keyname=key, keyalgorithm=algorithm)
added = changed = removed = 0
for at in have.keys() - want.keys():
    update.delete(at[0], at[1])
    removed += 1
for at, rdataset in want.items():
    if at not in have:
        update.add(at[0], rdataset)
        added += 1
    elif differ(have[at], rdataset):
        update.replace(at[0], rdataset)
        changed += 1
if added or changed or removed:
    response = dns.query.tcp(update, address, port=int(port), timeout=30)
    if response.rcode() != dns.rcode.NOERROR:
        sys.exit("the update: " + dns.rcode.to_text(response.rcode()))
print(f"{added} added, {changed} changed, {removed} removed")
