"""Dashboards: a Voila server of our own that draws what the portal tells, one kernel for each open page.

Server side: server, signin, owners, kernels, routes. Inside a kernel: kernel, live, pieces, allocation, queue.
"""
