# %% augment-seen: mirrors are forgotten
def views_with(row, column, side, crop):
    def starts(place):
        return min(place, side - crop) - max(0, place - crop + 1) + 1

    return starts(row) * starts(column)


# %% augment-seen: the far edge is forgotten
def views_with(row, column, side, crop):
    return 2 * min(row + 1, side - crop + 1) * min(column + 1, side - crop + 1)


# %% augment-mirror: top and bottom
def mirrored(images, flags):
    return torch.where(flags[:, None, None, None], images.flip(-2), images)


# %% augment-mirror: all or none
def mirrored(images, flags):
    return images.flip(-1) if flags.any() else images


# %% augment-ten: the centre is the middle of the image
def corners(side, crop):
    last, middle = side - crop, side // 2
    return [(0, 0), (0, last), (middle, middle), (last, 0), (last, last)]


# %% augment-ten: column before row
def corners(side, crop):
    last, middle = side - crop, (side - crop) // 2
    return [(0, 0), (last, 0), (middle, middle), (0, last), (last, last)]
