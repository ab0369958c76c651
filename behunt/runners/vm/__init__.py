"""Boot environments as whole machines, in a hypervisor."""
