"""Behind a partner's wall: private tables, teacher, annotating, disclosure guard, hybrid."""
