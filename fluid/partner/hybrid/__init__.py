"""The hybrid: a partner's own data and the pooled labels together; stays at home."""
