"""Has the RFC 2136 authenticator of certbot answer challenges, or clean up after them.

Arguments: perform or cleanup, the credentials file, and domains. perform prints the name
and the text of each challenge. There is no ACME server: the account's key is made here.
"""
import argparse
import hashlib
import logging
import os
import sys

import josepy
from acme import challenges, messages
from certbot import achallenges
from certbot.display import util as display
from certbot_dns_rfc2136._internal import dns_rfc2136
from cryptography.hazmat.backends import default_backend
from cryptography.hazmat.primitives.asymmetric import rsa

action, credentials, domains = sys.argv[1], sys.argv[2], sys.argv[3:]
logging.disable(logging.CRITICAL)
display.notify = lambda *_: None
config = argparse.Namespace(
    dns_rfc2136_credentials=os.path.abspath(credentials),
    dns_rfc2136_propagation_seconds=0,
)
authenticator = dns_rfc2136.Authenticator(config, "dns-rfc2136")
keyfile = "account.json"
if action == "perform":
    key = josepy.JWKRSA(key=josepy.ComparableRSAKey(
        rsa.generate_private_key(65537, 2048, default_backend())))
    with open(keyfile, "w", encoding="ascii") as f:
        f.write(key.json_dumps())
with open(keyfile, encoding="ascii") as f:
    key = josepy.JWKRSA.json_loads(f.read())


def challenge(domain):
    """The challenge for a domain: for a wildcard, that of the name below it."""
    token = hashlib.sha256(domain.encode()).digest()
    body = messages.ChallengeBody(
        chall=challenges.DNS01(token=token), uri="https://ca.invalid/1", status=messages.STATUS_PENDING)
    return achallenges.KeyAuthorizationAnnotatedChallenge(
        challb=body, domain=domain.removeprefix("*."), account_key=key)


asked = [challenge(domain) for domain in domains]
if action == "perform":
    authenticator.perform(asked)
    for one in asked:
        print(one.challb.chall.validation_domain_name(one.domain),
              one.challb.chall.validation(key))
else:
    authenticator._attempt_cleanup = True  # as a run that has performed has it
    authenticator._setup_credentials()
    authenticator.cleanup(asked)
