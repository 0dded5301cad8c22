"""Measurements that take hours and outlast a page: made once, stored beside the run, checked whenever they are read."""
