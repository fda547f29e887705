"""Templates of the verifiers beside the embeddings, and the evidence objects that the node adds to studies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("laterality", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name="fk_templates_study_uid"),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_templates_study_uid", "templates", ["study_uid"], unique=False)
    op.create_index("ix_templates_issuer_patient_id", "templates", ["issuer", "patient_id"], unique=False)
    op.create_table(
        "evidence_objects",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_evidence_objects_decision_id"),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_evidence_objects"),
    )
    op.create_index("ix_evidence_objects_decision_id", "evidence_objects", ["decision_id"], unique=False)
    op.create_index("ix_evidence_objects_study_uid", "evidence_objects", ["study_uid"], unique=False)


def downgrade() -> None:
    op.drop_table("evidence_objects")
    op.drop_table("templates")
