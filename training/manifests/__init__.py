"""Which image is whose: one schema for cohorts, exports of a PACS and public data sets."""
