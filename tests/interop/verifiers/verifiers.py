"""Python verifiers, each set up by its documentation, against the four forms of token. Prints a row for each."""
import os
import urllib.request

import jwt
from authlib.jose import JsonWebToken  # The interface of its documentation.
from joserfc import jwk
from joserfc import jwt as joserfc_jwt
from jose import jwt as python_jose

ISSUER, AUDIENCE = os.environ["M2M_ISSUER"], os.environ["M2M_AUDIENCE"]
JWKS_URI = f"{ISSUER}/.well-known/jwks.json"
ALGORITHMS = ["ES256", "RS256"]


def keys():
    with urllib.request.urlopen(JWKS_URI) as answer:
        return answer.read()


def pyjwt(token):
    key = jwt.PyJWKClient(JWKS_URI).get_signing_key_from_jwt(token)
    jwt.decode(token, key, algorithms=ALGORITHMS, audience=AUDIENCE, issuer=ISSUER)


def authlib(token):
    import json
    options = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
    JsonWebToken(ALGORITHMS).decode(token, json.loads(keys()), claims_options=options).validate()


def joserfc(token):
    import json
    found = joserfc_jwt.decode(token, jwk.KeySet.import_key_set(json.loads(keys())), algorithms=ALGORITHMS)
    joserfc_jwt.JWTClaimsRegistry(iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}).validate(found.claims)


def jose(token):
    python_jose.decode(token, keys().decode(), algorithms=ALGORITHMS, audience=AUDIENCE, issuer=ISSUER)


def accepts(verify, form):
    with open(os.path.join(os.environ["M2M_TOKENS"], form), encoding="ascii") as file:
        token = file.read().strip()
    try:
        verify(token)
        return "yes"
    except Exception:  # A refusal, in each library's own class.
        return "no"


for name, verify in {"PyJWT": pyjwt, "Authlib": authlib, "joserfc": joserfc, "python-jose": jose}.items():
    row = [accepts(verify, form) for form in os.environ["M2M_FORMS"].split()]
    print(f"| {name} | {' | '.join(row)} |")
