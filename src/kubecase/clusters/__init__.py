"""(statute follows)"""
