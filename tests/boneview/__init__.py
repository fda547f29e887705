"""The bones across modalities: bone views, their routes, and what their evidence may do."""
