"""Who may do what, as pure functions: rules, delegation, narrowing, ACLs, the life of keys."""
