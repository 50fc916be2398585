"""${message[0].upper() + message[1:]}."""

import sqlalchemy as sa
from alembic import op

revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}


def upgrade() -> None:
    """Forwards; there is no way back but a backup."""
    ${upgrades if upgrades else "pass"}
