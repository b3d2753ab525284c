"""A mail server (aiosmtpd) that writes what it takes into a directory, a JSON file a mail.

    smtp_server.py PORT DIRECTORY [CERTIFICATE KEY]

Prints its port, and ends when its input does. With a certificate it takes mail after STARTTLS only, from
`oak` with the password `p@ss+word`. While DIRECTORY/busy is there, recipients that begin with `busy` are put
off; those that begin with `refused` are refused.
"""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, directory):
        self.directory = directory
        self.taken = len(os.listdir(directory))

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("busy") and os.path.exists(f"{self.directory}/busy"):
            return "451 4.7.1 Try again later"
        if address.startswith("refused"):
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "headers": [[name.lower(), str(value)] for name, value in message.items()],
            "text": message.get_body(("plain",)).get_content(),
            "html": message.get_body(("html",)).get_content(),
            "encrypted": session.ssl is not None,
        }
        self.taken += 1
        path = f"{self.directory}/{self.taken:06}.json"
        with open(f"{path}.tmp", "w") as file:
            json.dump(mail, file)
        os.rename(f"{path}.tmp", path)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    right = (data.login, data.password) == (b"oak", b"p@ss+word")
    return AuthResult(success=right, handled=False)


async def main():
    port, directory, *tls = sys.argv[1:]
    options = {}
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        options = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": authenticate,
        }
    handler = Handler(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="localhost", **options), "127.0.0.1", int(port)
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
