"""The page of `etl report`: what the views of schema `cleanrooms` say of a period, in one file to look at."""
